import { FERRY, start, type TestProcess } from './process.js';

/** `ferry` on a terminal of its own, which prints `pid=N` first: the id of `ferry` itself. */
export function onTerminal(
  args: string,
  cwd: string,
  { rows = 24, columns = 100 }: { rows?: number; columns?: number } = {},
): TestProcess {
  const command = `stty rows ${rows} cols ${columns}; echo pid=$$; exec '${process.execPath}' '${FERRY}' ${args}`;
  return start('script', ['-qfec', command, '/dev/null'], {
    cwd,
    env: { TERM: 'xterm', SHELL: '/bin/sh', NO_COLOR: undefined },
  });
}
