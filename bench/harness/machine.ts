import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, tmpdir, totalmem } from 'node:os';
import { basename } from 'node:path';
import { findRedisServer } from '../../src/queue/embedded/findServer.js';

/** What a figure depends on: name and value, for the head of the report. */
export async function machine(): Promise<[string, string][]> {
  const server = await findRedisServer();
  return [
    ['processors', `${availableParallelism()} x ${cpus()[0]?.model.trim() ?? 'unknown'}`],
    ['memory', `${Math.round(totalmem() / 2 ** 30)} GiB`],
    ['system', `${distribution()}, Linux ${release()}`],
    ['file system of the measurements', fileSystemOf(tmpdir())],
    ['Node.js', process.version],
    ['Redis', firstLine(output(server.program, ['--version'], server.name))],
    ['PicoLisp', packageVersion('picolisp')],
    ['journal-ferry', revision()],
    [
      'load before the run',
      loadavg()
        .map((load) => load.toFixed(1))
        .join(' '),
    ],
    ['date', new Date().toISOString().slice(0, 10)],
  ];
}

/** The version of an installed Debian package. */
export function packageVersion(name: string): string {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the placeholder is dpkg's
  return output('dpkg-query', ['-W', '-f', '${Version}', name]);
}

/** Its kind and options, and of an ext4 whether it has a journal: those are two. */
function fileSystemOf(dir: string): string {
  const mount = output('findmnt', ['-n', '-o', 'SOURCE,FSTYPE,OPTIONS', '-T', dir]);
  if (mount === 'unknown') return output('stat', ['-f', '-c', '%T', dir]);
  const [source = '', type = '', options = ''] = mount.split(/\s+/);
  if (type !== 'ext4') return `${type} ${options}`;
  return `${type} ${journalOf(basename(source))}, ${options}`;
}

/** The kernel names the thread that writes a device's journal, or says `<none>`. */
function journalOf(device: string): string {
  try {
    const task = readFileSync(`/sys/fs/ext4/${device}/journal_task`, 'utf8').trim();
    return task === '<none>' ? 'without a journal' : 'with a journal';
  } catch {
    return 'with or without a journal';
  }
}

function distribution(): string {
  try {
    return /^PRETTY_NAME="(.*)"$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown';
  } catch {
    return 'unknown';
  }
}

function revision(): string {
  const commit = output('git', ['rev-parse', '--short', 'HEAD']);
  const changed = output('git', ['status', '--porcelain', '--untracked-files=no', 'src', 'bench']);
  return changed === '' || changed === 'unknown' ? commit : `${commit} with changes`;
}

function firstLine(text: string): string {
  return text.split('\n')[0] ?? text;
}

function output(program: string, args: readonly string[], argv0?: string): string {
  try {
    const options = argv0 === undefined ? {} : { argv0 };
    const stdio: ['ignore', 'pipe', 'ignore'] = ['ignore', 'pipe', 'ignore'];
    return execFileSync(program, args, { encoding: 'utf8', stdio, ...options }).trim();
  } catch {
    return 'unknown';
  }
}
