/** The process that `ferry doctor` looks with (`doctorChild.ts`): `node doctorProgram.js FILE`. */
import { diagnoseAll } from '../operator/doctor/doctor.js';
import { operated } from '../ssl/daemons.js';

process.once('disconnect', () => process.exit(1)); // nobody waits any more
const { configs } = await operated(process.argv[2] ?? 'ferry.yaml');
process.send?.(await diagnoseAll(configs));
