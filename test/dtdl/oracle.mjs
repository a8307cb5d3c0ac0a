// Answers each line of standard input, a JSON array of DTDL models that form one set, with one line: what the
// language's own parser says of the set, and how many milliseconds that took: by the clock, and of all processors.
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const modules = process.argv[2];
console.log = () => {};
const { getInterop } = await import(pathToFileURL(modules + '/node_modules/@digicatapult/dtdl-parser/build/interop.js'));
const parser = await getInterop();
const answer = (o) => process.stdout.write(JSON.stringify(o) + '\n');
answer({ version: parser.parserVersion() });
for await (const line of createInterface({ input: process.stdin })) {
  const start = process.cpuUsage();
  const began = performance.now();
  let out;
  try {
    out = { valid: true, elements: Object.keys(JSON.parse(parser.parse(line))).length };
  } catch (e) {
    out = { valid: false, errors: [], unresolved: [] };
    try {
      const x = JSON.parse(e.message);
      out.errors = (x.Errors ?? []).map((e) => ({ id: e.ValidationID, element: e.PrimaryID ?? '', property: e.Property ?? '' }));
      out.unresolved = x.UndefinedIdentifiers ?? [];
    } catch {
      out.failure = String(e.message);
    }
  }
  const used = process.cpuUsage(start);
  out.took = { clock: performance.now() - began, processors: (used.user + used.system) / 1000 };
  answer(out);
}
