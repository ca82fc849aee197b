import { FerryError } from '../common/errors.js';
import type { Environment } from '../config/environment.js';

/** `FERRY_DIALECT`: `eof` is the dialect of 2015. */
export function dialectOf(env: Environment): 'acked' | 'eof' {
  const word = env['FERRY_DIALECT'] ?? '';
  if (word === '' || word === 'acked') return 'acked';
  if (word === 'eof') return 'eof';
  throw new FerryError('SSL_DIALECT', `FERRY_DIALECT is ${JSON.stringify(word)}`, {
    kind: 'usage',
    hint: 'set it to acked (2022, the default) or eof (2015), or leave it away',
  });
}
