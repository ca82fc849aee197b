import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('./corpus', import.meta.url));

/** A request as it comes over the wire, for a receiver with the app `foo.r` and the harness's key. */
export interface Specimen {
  name: string;
  bytes: Buffer;
  /** `T`, `silent`: closed without a byte, or an HTTP status. */
  expected: string;
}

/** The requests in `corpus/<expected>/<name>`: whatever was once worth a thought. */
export function corpus(): Specimen[] {
  return readdirSync(FOLDER).flatMap((expected) =>
    readdirSync(join(FOLDER, expected)).map((name) => ({
      name,
      expected,
      bytes: readFileSync(join(FOLDER, expected, name)),
    })),
  );
}
