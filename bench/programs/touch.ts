/**
 * Writes to so much memory once and ends.
 *
 *     usage: touch MIB
 */
import { endWithParent } from '../../chaos/program.js';

const MIB = 1024 * 1024;
const PAGE_BYTES = 4_096;

endWithParent();
const blocks: Buffer[] = [];
for (let n = 0; n < Number(process.argv[2] ?? 0); n += 1) {
  const block = Buffer.allocUnsafeSlow(MIB);
  for (let at = 0; at < MIB; at += PAGE_BYTES) block[at] = 1;
  blocks.push(block);
}
console.log(JSON.stringify({ touchedMib: blocks.length }));
process.exit(0);
