import { basename } from 'node:path';
import { maskedWords, parseSslCall } from './arguments.js';
import { documentOf, documentText } from './document.js';

/**
 * The `ferry.yaml` that does what a call of bin/ssl does, with what cannot be said there as
 * comments. A key that is written out in the call is not repeated.
 *
 * @throws FerryError as `parseSslCall`
 */
export function explain(
  words: readonly string[],
  options: { directory: string; dialect: 'acked' | 'eof' },
): string {
  const call = parseSslCall(words);
  const lines = [`# ferry ssl ${maskedWords(words).map(quoted).join(' ')}`];
  if (call.kind === 'transfer') {
    lines.push('# This call sends once and ends; there is nothing to configure. Keep it as it is.');
    return `${lines.join('\n')}\n`;
  }
  const name = basename(call.journal ?? call.blobDir ?? '') || 'journal';
  // A key on standard input or in the call is no file; it is asked for.
  const document = documentOf(
    call.key === 'stdin' || (call.key !== null && call.key.kind === 'text')
      ? { ...call, key: { kind: 'file', path: 'KEY_FILE' } }
      : call,
    { ...options, name },
  );
  if (document === null) {
    lines.push('# Neither a journal nor blobs to send: this call does nothing.');
    return `${lines.join('\n')}\n`;
  }
  const idle = call.idleMinutes === null ? '' : ` --idle-exit ${call.idleMinutes}m`;
  lines.push(`# Start it with: ferry run${idle}`);
  if (call.key !== null && (call.key === 'stdin' || call.key.kind === 'text')) {
    lines.push(
      '# KEY_FILE: write the key into a file, with a newline at its end, and name it here.',
    );
  }
  if (call.key !== null) {
    lines.push(
      '# identity: false sends just the bytes of bin/ssl. With `ferry receiver` on the far side,',
      '# leave the line out: then no batch is stored twice, whatever happens.',
    );
  }
  if (call.printPid)
    lines.push('# 0 minutes: `ferry run` stays in the foreground and prints no pid.');
  return `${lines.join('\n')}\n${documentText(document)}`;
}

function quoted(word: string): string {
  return /^[\w./:@%+=,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
