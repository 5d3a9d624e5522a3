// Each line of input is {"decode": Base64} or {"encode": payload}; each is answered by a line.
const { decodePayload, encodePayload } = require("sparkplug-payload").get("spBv1.0");
const plain = (key, value) => {
  if (value && typeof value === "object" && "low" in value && "high" in value) {
    return Number(BigInt.asIntN(64, (BigInt(value.high) << 32n) | BigInt(value.low >>> 0)));
  }
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
};
require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { decode, encode } = JSON.parse(line);
  const answer = decode === undefined
    ? Buffer.from(encodePayload(encode)).toString("base64")
    : decodePayload(Buffer.from(decode, "base64"));
  console.log(JSON.stringify(answer, plain));
});
