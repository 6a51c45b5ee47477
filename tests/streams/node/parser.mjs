// Reads a stream's text from standard input and prints what the parser makes of it at every cut.
import { readFileSync } from "node:fs";
import { Parser } from "../../../gateway/static/kafkahub-stream.js";

const bytes = readFileSync(0);

function parsed(pieces) {
  const parser = new Parser();
  const decoder = new TextDecoder();
  return pieces.flatMap((piece) => [...parser.feed(decoder.decode(piece, { stream: true }))]);
}

const whole = JSON.stringify(parsed([bytes]));
const single = JSON.stringify(parsed([...bytes].map((byte) => Uint8Array.of(byte))));
const cuts = [];
for (let at = 0; at <= bytes.length; at += 1) {
  const found = JSON.stringify(parsed([bytes.subarray(0, at), bytes.subarray(at)]));
  if (found !== whole) cuts.push(at);
}
if (single !== whole) cuts.push("every");
console.log(JSON.stringify({ events: JSON.parse(whole), cuts }));
