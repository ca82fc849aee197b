/** The process that `ferry doctor` looks with (`doctorChild.ts`): `node doctorProgram.cjs FILE`. */
import { diagnoseAll } from '../operator/doctor/doctor.js';
import { operated } from '../ssl/daemons.js';

async function main(file: string): Promise<void> {
  process.once('disconnect', () => process.exit(1)); // nobody waits any more
  const { configs } = await operated(file);
  process.send?.(await diagnoseAll(configs));
}

void main(process.argv[2] ?? 'ferry.yaml');
