"""Packaging. A setup.py, because Beam's --setup_file stages one to remote workers."""

import os
import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"', (HERE / "mixpanel_sink/version.py").read_text(), re.MULTILINE
)[1]

# Where the clone is published. GitHub's workflows say so; a build elsewhere does not know.
GITHUB = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
REPOSITORY = f"{GITHUB}/{name}" if (name := os.environ.get("GITHUB_REPOSITORY")) else ""


def readme_for_pypi() -> str:
    """README.md outside of a clone: its links lead to the repository, or are plain text."""

    def absolute(link: re.Match[str]) -> str:
        picture, text, target = link.groups()
        if not REPOSITORY:
            return "" if picture else text
        if picture:
            return f"![{text}]({REPOSITORY}/raw/v{VERSION}/{target})"
        page = f"README.md{target}" if target.startswith("#") else target
        return f"[{text}]({REPOSITORY}/blob/v{VERSION}/{page})"

    relative_link = r"(!?)\[([^\]]*)\]\((?!\w+:)([^)]+)\)"
    return re.sub(relative_link, absolute, (HERE / "README.md").read_text(encoding="utf-8"))


PROJECT_URLS = {
    "Documentation": f"{REPOSITORY}/blob/v{VERSION}/docs/index.md",
    "Source": REPOSITORY,
    "Changelog": f"{REPOSITORY}/blob/v{VERSION}/CHANGELOG.md",
    "Issues": f"{REPOSITORY}/issues",
}

GCP = ["apache-beam[gcp]>=2.77,<3", "google-cloud-storage>=3"]
AWS = ["apache-beam[aws]>=2.77,<3", "boto3>=1.36"]
AZURE = ["apache-beam[azure]>=2.77,<3"]
EXCEL = ["python-calamine>=0.9"]
DELTA = ["deltalake>=1.6"]
ICEBERG = ["pyiceberg>=0.12"]
YAML = ["apache-beam[yaml]>=2.77,<3"]
EMULATOR = ["httptools>=0.6", "msgspec>=0.20", "starlette>=1.0", "trustme>=1.2", "uvicorn>=0.54"]
ALL = [*GCP, *AWS, *AZURE, *EXCEL, *DELTA, *ICEBERG, *YAML, *EMULATOR]
DEV = [
    *ALL,
    "gcp-storage-emulator>=2026.7",
    "hypothesis>=6.170",
    "import-linter>=2.7",
    "mixpanel>=5.4",
    "mixpanel-utils>=2.2",
    "moto[server]>=5.2",
    "msoffcrypto-tool>=6.1",
    "mkdocs-material>=9.7",
    "mkdocstrings[python]>=1.0",
    "mypy>=2.4",
    "axe-playwright-python>=0.1.8",
    "playwright>=1.60",
    "pytest>=9",
    "pytest-timeout>=2.4",
    "pytest-xdist>=3.8",
    "readme-renderer[md]>=44",
    "ruff>=0.17",
    "sqlalchemy>=2",
    "twine>=6.1",
    "types-PyYAML",
    "types-requests",
    "uv>=0.9",
    "xlsxwriter>=3.3",
]

setup(
    name="mixpanel-sink",
    version=VERSION,
    description="An Apache Beam sink for Mixpanel: every event lands once, within the quota.",
    long_description=readme_for_pypi(),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    keywords="mixpanel apache-beam dataflow analytics events import parquet bigquery",
    project_urls=PROJECT_URLS if REPOSITORY else {},
    python_requires=">=3.11",
    packages=find_packages(include=["mixpanel_sink*"]),
    package_data={
        "mixpanel_sink": [
            "py.typed",
            "emulator/page/*",
            "inspect/presets/*.yaml",
            "report/*.html",
            "yaml/*.yaml",
        ]
    },
    install_requires=[
        "apache-beam>=2.77,<3",
        "blake3>=1.0",
        "fastavro[codecs]>=1.12",
        "isal>=1.9",
        "jinja2>=3.1",
        "numpy>=2",
        "orjson>=3.11.7",  # which writes floats as Polars does; content ids rest on it
        "polars>=2.1,<3",
        "polars-hash>=0.9",
        "pyarrow>=20",
        "PyYAML>=6",
        "requests>=2.32,<3",
        "rich>=15",
        "typer>=0.29",
        "urllib3>=2.2,<3",
        "tzdata",
    ],
    extras_require={
        "gcp": GCP,
        "aws": AWS,
        "azure": AZURE,
        "excel": EXCEL,
        "delta": DELTA,
        "iceberg": ICEBERG,
        "yaml": YAML,
        "emulator": EMULATOR,
        "all": ALL,
        "dev": DEV,
    },
    entry_points={
        "console_scripts": ["mixpanel-sink = mixpanel_sink.cli:main"],
        "pytest11": ["mixpanel_sink = mixpanel_sink.pytest_plugin"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Scientific/Engineering :: Information Analysis",
        "Typing :: Typed",
    ],
)
