/**
 * Spools that share a seal log, in a process to be killed at a crash point. Each seals `rounds`
 * batches, all of them at the same moment, and says so on stdout.
 * Arguments: state directory, boot id, rounds, names of spools.
 */
import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sealsDirIn } from '../../src/producers/spool/sealCopies.js';
import { SealLog } from '../../src/producers/spool/sealLog.js';
import { Spool } from '../../src/producers/spool/spool.js';
import { sealInline } from './helpers.js';

async function main(stateDir: string, bootId: string, rounds: number, names: string[]) {
  const seals = new SealLog(sealsDirIn(stateDir), { bootId, fileBytes: 3_000 });
  const spools: Spool[] = [];
  for (const journal of names) {
    const spool = await Spool.open(join(stateDir, 'spool', journal), { journal, bootId, seals });
    await spool.addRoute('r', { after: 0 });
    spools.push(spool);
  }
  await seals.freeLeft();
  for (let round = 0; round < rounds; round += 1) {
    await Promise.all(
      spools.map((spool) =>
        sealInline(spool, Buffer.from(`${spool.nextSequence} of ${spool.journal}`)),
      ),
    );
    writeSync(1, `${spools[0]?.lastSequence}\n`);
  }
  for (const spool of spools) await spool.close();
  await seals.close();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [stateDir = '', bootId = '', rounds = '', ...names] = process.argv.slice(2);
  await main(stateDir, bootId, Number(rounds), names);
}
