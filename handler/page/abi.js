// The contract's encoding of a request: (bytes model, bytes vector), 32-byte words, in hex.

// dtype of the classic format -> its number in a vector, and how its bits are written.
const KINDS = {
  half: [0, (v) => bits(2, "setFloat16", "getInt16", v)],
  float: [1, (v) => bits(4, "setFloat32", "getInt32", v)],
  double: [2, (v) => bits(8, "setFloat64", "getBigInt64", v)],
  int8: [5, BigInt],
  short: [6, BigInt],
  int: [7, BigInt],
  long: [8, BigInt],
  uint8: [9, BigInt],
  bool: [15, (v) => (v ? 1n : 0n)],
};
const NAMED = { NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity };

function bits(size, set, get, value) {
  const view = new DataView(new ArrayBuffer(size));
  view[set](0, NAMED[value] ?? value);
  return BigInt(view[get](0));
}

const word = (value) => BigInt.asUintN(256, BigInt(value)).toString(16).padStart(64, "0");

// bytes: how many, and the bytes, filled up to a whole word.
const dynamic = (hex) => word(hex.length / 2) + hex.padEnd(Math.ceil(hex.length / 64) * 64, "0");

// The hex of a request, or null where a vector has no such dtype.
export function encodeRequest(dtype, shape, flat) {
  const halves = "setFloat16" in DataView.prototype; // of browsers since 2025
  if (!(dtype in KINDS) || (dtype === "half" && !halves)) return null;
  const [number, encode] = KINDS[dtype];
  const dimensions = word(shape.length) + shape.map(word).join("");
  const values = word(flat.length) + flat.map((value) => word(encode(value))).join("");
  const head = [0, 0, number, 160, 160 + dimensions.length / 2].map(word).join("");
  const vector = head + dimensions + values;
  return word(0x40) + word(0x60) + dynamic("") + dynamic(vector);
}
