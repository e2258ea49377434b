// npm's mixpanel-import, from a copy whose host is what BENCHMARK_ENDPOINT names.
//   node mixpanel_import.cjs PACKAGE --input FILE --endpoint URL
const [, , location, ...rest] = process.argv;
const options = {};
for (let i = 0; i < rest.length; i += 2) options[rest[i].slice(2)] = rest[i + 1];
process.env.BENCHMARK_ENDPOINT = options.endpoint;
const importer = require(location);

const MAPPED = ["event_name", "user_id", "occurred_at", "order_id"];

function toEvent(row) {
	const properties = {};
	for (const name in row) if (!MAPPED.includes(name)) properties[name] = row[name];
	properties.distinct_id = row.user_id;
	properties.ip = "0";
	properties.time = row.occurred_at;
	properties.$insert_id = row.order_id;
	return { event: row.event_name, properties };
}

const ready = options.input.endsWith(".ndjson");
const settings = {
	recordType: "event",
	streamFormat: ready ? "jsonl" : "parquet",
	workers: 20,
	compressionLevel: 1,
	transport: "undici",
	abridged: true,
	...(ready ? { fastMode: true } : { transformFunc: toEvent }),
};
importer({ secret: "no-secret" }, options.input, settings).then(
	(result) => {
		console.log(JSON.stringify({ success: result.success, failed: result.failed }));
		process.exit(result.failed ? 1 : 0);
	},
	(error) => {
		console.error(error);
		process.exit(1);
	},
);
