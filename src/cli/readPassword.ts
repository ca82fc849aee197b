import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { FerryError } from '../common/errors.js';

/** Shorter ones are guessed, whatever holds guesses up. Said, and left to the user. */
const LENGTH_WISE = 8;

/**
 * A new password from standard input: from a terminal it is asked for twice and not shown.
 *
 * @throws FerryError USAGE when there is none, or the two differ
 */
export async function readPassword(): Promise<string> {
  const { stdin } = process;
  const password = stdin.isTTY ? await askTwice() : (await text(stdin)).replace(/\r?\n$/, '');
  if (/[\r\n]/.test(password)) throw wrong('the password has several lines', 'give it on one line');
  if (password === '') throw wrong('there is no password', 'type one, or pipe one in');
  if (password.length < LENGTH_WISE) {
    process.stderr.write('ferry: this password is short and can be guessed; take a few words\n');
  }
  return password;
}

async function askTwice(): Promise<string> {
  // The prompt goes to standard error; what readline would echo goes nowhere.
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: nowhere, terminal: true });
  lines.once('SIGINT', () => process.exit(130));
  // The end of the input (^D) answers no question.
  const ended = new Promise<never>((_, reject) => {
    lines.once('close', () => reject(wrong('there is no password', 'type one, or pipe one in')));
  });
  ended.catch(() => undefined);
  const ask = async (prompt: string): Promise<string> => {
    process.stderr.write(prompt);
    const line = await Promise.race([lines.question(''), ended]);
    process.stderr.write('\n');
    return line;
  };
  try {
    const password = await ask('password: ');
    if ((await ask('once more: ')) === password) return password;
    throw wrong('the two differ', 'try again');
  } finally {
    lines.close();
  }
}

function wrong(message: string, hint: string): FerryError {
  return new FerryError('USAGE', message, { kind: 'usage', hint });
}
