"""The raw export's endpoint."""

import asyncio
import zlib
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mixpanel_sink.emulator import answers, export
from mixpanel_sink.emulator.answers import Answer, Refused
from mixpanel_sink.emulator.auth import authenticate
from mixpanel_sink.emulator.exchange import open_entry, response_of, state_of
from mixpanel_sink.emulator.injection import inject
from mixpanel_sink.emulator.rows import Detail
from mixpanel_sink.emulator.state import State


async def export_events(request: Request) -> Response:
    """The raw export API."""
    state, entry = state_of(request), open_entry(request)
    given, settings = request.query_params, state.settings
    try:
        header = request.headers.get("authorization")
        project = authenticate(settings, header, given.get("project_id"), by_token=False)
        entry.project = project.id
        query = export.Query.parse(given)
        state.exports.begin(project, entry.arrived, settings.export_quotas)
    except Refused as refusal:
        entry.status, entry.error = refusal.status, refusal.error
        answer = answers.refused("reference", refusal)
        detail = Detail(answer=answer.body)
        await state.write(state.store.writer.record, entry, detail=detail)
        return response_of(answer)
    exports = state.exports
    try:
        lines = export.Lines(state.store, settings, project, query)
        fault = state.faults.draw(entry.path, by_name_only=True)
        entry.fault = fault.kind if fault else None
        if fault is not None and fault.kind not in ("slow", "quota", "truncate"):
            exports.end(project)
            return await inject(state, entry, fault, None, Answer(200, b"", "text/plain"))
        if fault is not None and fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        first = await state.read(lines.next)
    except BaseException:
        exports.end(project)
        raise
    headers: dict[str, str] = {}
    pack = None
    # Mixpanel compresses what is larger than a packet.
    if "gzip" in request.headers.get("accept-encoding", "") and len(first or b"") > 1400:
        headers["Content-Encoding"] = "gzip"
        pack = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    parts = _parts(state, lines, first, fault is not None and fault.kind == "truncate")

    async def told() -> AsyncIterator[bytes]:
        try:
            async for part in parts:
                yield pack.compress(part) if pack else part
            if pack:
                yield pack.flush()
        finally:
            exports.end(project)
            entry.status, entry.events = 200, lines.count
            await asyncio.shield(state.write(state.store.writer.record, entry))

    return StreamingResponse(told(), headers=headers, media_type="text/plain")


async def _parts(
    state: State, lines: export.Lines, first: bytes | None, cut: bool
) -> AsyncIterator[bytes]:
    part = first
    while part is not None:
        if cut:
            yield part[: len(part) // 2]
            raise ConnectionAbortedError("the export is cut short (injected)")
        yield part
        part = await state.read(lines.next)
