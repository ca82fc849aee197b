import { isIP } from 'node:net';
import { z } from 'zod';
import { DURATION_PATTERN, parseDuration, parseSize, SIZE_PATTERN } from './units.js';

/**
 * The building blocks of the schema. Each says in its message what was expected and how it is
 * written, because that message is all that a user gets to see.
 *
 * Numbers and booleans may come as text: that is what `${PORT}` becomes.
 */

const DURATION_TEXT = 'expected a duration such as 500ms, 20s, 5m, 2h or 7d';
const SIZE_TEXT = 'expected a size such as 64KiB, 16MiB or 1GiB';

/** A duration in milliseconds. A bare `0` needs no unit. */
export const duration = z
  .union(
    [z.literal(0), z.string().regex(DURATION_PATTERN, { error: DURATION_TEXT }), z.literal('0')],
    {
      error: DURATION_TEXT,
    },
  )
  .transform((value, context) => {
    const milliseconds = value === 0 || value === '0' ? 0 : parseDuration(value);
    if (milliseconds !== null) return milliseconds;
    context.addIssue({ code: 'custom', message: DURATION_TEXT });
    return z.NEVER;
  });

/** A duration that may not be zero. */
export const positiveDuration = duration.refine((ms) => ms > 0, {
  error: 'expected a duration above zero',
});

/** A size in bytes. A bare whole number is bytes. */
export const size = z
  .union(
    [
      z.int({ error: SIZE_TEXT }).nonnegative({ error: SIZE_TEXT }),
      z.string().regex(SIZE_PATTERN, { error: SIZE_TEXT }),
      z.string().regex(/^\d+$/, { error: SIZE_TEXT }),
    ],
    {
      error: SIZE_TEXT,
    },
  )
  .transform((value, context) => {
    const bytes =
      typeof value === 'number' ? value : /^\d+$/.test(value) ? Number(value) : parseSize(value);
    if (bytes !== null && Number.isSafeInteger(bytes)) return bytes;
    context.addIssue({ code: 'custom', message: SIZE_TEXT });
    return z.NEVER;
  });

export const positiveSize = size.refine((bytes) => bytes > 0, {
  error: 'expected a size above zero',
});

/** A size, or null for `off`. */
export const sizeOrOff = z.union([z.literal('off').transform(() => null), positiveSize], {
  error: `${SIZE_TEXT}, or off`,
});

/** A whole number in a range. */
export function integer(min: number, max: number, what: string) {
  const error = `expected ${what}: a whole number from ${min} to ${max}`;
  return z
    .union(
      [
        z.int({ error }).min(min, { error }).max(max, { error }),
        z.string().regex(/^\d+$/, { error }),
      ],
      { error },
    )
    .transform((value, context) => {
      const number = Number(value);
      if (number >= min && number <= max) return number;
      context.addIssue({ code: 'custom', message: error });
      return z.NEVER;
    });
}

export const port = integer(1, 65_535, 'a port');

export const boolean = z.union(
  [z.boolean(), z.enum(['true', 'false']).transform((text) => text === 'true')],
  {
    error: 'expected true or false',
  },
);

/** Any text that is not empty. */
export const text = z
  .string({ error: 'expected text' })
  .min(1, { error: 'expected text, found nothing' });

const CONTROL = /[\p{Cc}]/u;

/** A file or directory, still as written. */
export const path = text.refine((value) => !CONTROL.test(value), {
  error: 'expected a path without control characters',
});

/** Names become file names, Redis keys and job ids; a longer one would not fit with its suffixes. */
const NAME_BYTES_MAX = 200;

/** Why a text cannot be a journal's or destination's name, or null when it can. */
export function nameProblem(name: string, forbidden: string): string | null {
  const bad = [...name].find((char) => forbidden.includes(char) || CONTROL.test(char));
  if (bad !== undefined) return `the name may not hold ${JSON.stringify(bad)}`;
  if (name === '' || name === '.' || name === '..') return 'the name must be a file name';
  if (name !== name.trim()) return 'the name may not begin or end with a space';
  if (Buffer.byteLength(name) > NAME_BYTES_MAX) {
    return `the name is longer than ${NAME_BYTES_MAX} bytes`;
  }
  return null;
}

/** `~` and `:` are separators in job ids, `/` in file names. */
export const JOURNAL_NAME_FORBIDDEN = '~:/\\';

/** A route is `<journal>@<destination>`: the last `@` divides. */
export const DESTINATION_NAME_FORBIDDEN = '~:@/\\';

export const RECEIVER_APP_FORBIDDEN = '/\\?# ';

/** Text that passes `nameProblem`. */
export function nameField(forbidden: string) {
  return z
    .string({ error: 'expected a name (put numbers in quotes)' })
    .superRefine((name, context) => {
      const message = nameProblem(name, forbidden);
      if (message !== null) context.addIssue({ code: 'custom', message });
    });
}

/** `host:port`, `[v6]:port`; port 0 takes any free one. */
export const listen = z
  .string({ error: 'expected host:port, such as 127.0.0.1:3000' })
  .transform((value, context) => {
    const address = parseAddress(value);
    if (address !== null) return address;
    context.addIssue({ code: 'custom', message: 'expected host:port, such as 127.0.0.1:3000' });
    return z.NEVER;
  });

/** An address, or a network such as `10.0.0.0/8`. */
export const subnet = z
  .string({ error: 'expected an address or a network, such as 10.0.0.0/8' })
  .transform((value, context) => {
    const parsed = parseSubnet(value);
    if (parsed !== null) return parsed;
    context.addIssue({
      code: 'custom',
      message: 'expected an address or a network, such as 10.0.0.0/8',
    });
    return z.NEVER;
  });

function parseSubnet(value: string): { address: string; bits: number } | null {
  const [address = '', length, ...more] = value.split('/');
  const family = isIP(address);
  if (family === 0 || more.length > 0) return null;
  const most = family === 4 ? 32 : 128;
  const bits = length === undefined ? most : /^\d{1,3}$/.test(length) ? Number(length) : -1;
  return bits < 0 || bits > most ? null : { address, bits };
}

/** The two halves of `host:port`; null when it is something else. */
export function parseAddress(value: string): { host: string; port: number } | null {
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^\s:[\]/]+)):(\d{1,5})$/.exec(value);
  const host = match?.[1] ?? match?.[2];
  const number = Number(match?.[3]);
  return host === undefined || number > 65_535 ? null : { host, port: number };
}
