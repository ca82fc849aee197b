import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../../test/support/freePort.js';
import type { Bench } from '../harness/lab.js';
import { answers, onPath } from '../harness/system.js';
import type { Contender, Pair } from './contender.js';

/** How careful the two daemons are. */
interface Care {
  /** Parameters of the sender's queue to the destination. */
  queue: string;
  /** Of the rulesets: none, and a line is in the daemon's main queue, in memory, first. */
  ruleset: string;
  /** Lines between two notes of the sender how far it has read. */
  noted: number;
  /** Parameters of the receiver's file. */
  file: string;
}

/** As the manual has it for a destination that may be away. */
const USUAL: Care = {
  queue: 'queue.type="LinkedList" queue.filename="ship" queue.saveOnShutdown="on"',
  ruleset: '',
  noted: 100,
  file: '',
};

/** All that can be said to have it on the disk before it is called done. */
const SYNCED: Care = {
  queue:
    'queue.type="Disk" queue.filename="ship" queue.saveOnShutdown="on" queue.checkpointInterval="1" queue.syncQueueFiles="on"',
  ruleset: ' queue.type="Direct"',
  noted: 1,
  file: ' sync="on" flushOnTXEnd="on" asyncWriting="off"',
};

function tls(bench: Bench): string {
  const [cert, key] = [bench.path('..', 'cert.pem'), bench.path('..', 'cert.key')];
  return `tls="on" tls.caCert="${cert}" tls.myCert="${cert}" tls.myPrivKey="${key}" tls.authMode="name" tls.permittedPeer=["localhost"]`;
}

function settings(bench: Bench, port: number, care: Care): Record<'sender' | 'receiver', string> {
  const global = (side: string): string => `global(workDirectory="${bench.path(side)}")`;
  return {
    receiver: `${global('receiver')}
module(load="imrelp")
template(name="line" type="string" string="%msg:2:$%\\n")
ruleset(name="store"${care.ruleset}) {
  action(type="omfile" file="${bench.path('receiver', 'received')}" template="line"${care.file})
}
input(type="imrelp" address="127.0.0.1" port="${port}" ruleset="store" ${tls(bench)})
`,
    sender: `${global('sender')}
module(load="imfile" mode="inotify")
module(load="omrelp")
ruleset(name="ship"${care.ruleset}) {
  action(type="omrelp" target="127.0.0.1" port="${port}" template="RSYSLOG_ForwardFormat"
    action.resumeRetryCount="-1" action.resumeInterval="1" ${care.queue}
    ${tls(bench)})
}
input(type="imfile" file="${bench.path('fifo', 'journal')}" tag="bench:" ruleset="ship"
  persistStateInterval="${care.noted}" freshStartTail="off")
`,
  };
}

async function prepare(bench: Bench, care: Care): Promise<Pair> {
  const port = await freePort();
  for (const [side, text] of Object.entries(settings(bench, port, care))) {
    mkdirSync(bench.path(side));
    writeFileSync(bench.path(`${side}.conf`), text);
  }
  const received = bench.path('receiver', 'received');
  const journal = bench.path('fifo', 'journal');
  writeFileSync(journal, '');
  return {
    journal,
    async start(side) {
      const args = ['-n', '-f', bench.path(`${side}.conf`), '-i', bench.path(side, 'pid')];
      const child = bench.start(`rsyslogd-${side}`, 'rsyslogd', args);
      if (side === 'receiver') {
        await bench.until('rsyslogd listens', () => answers(port, child));
      }
      return child;
    },
    receivedBytes: () => (existsSync(received) ? statSync(received).size : 0),
    received: () => readFileSync(received),
  };
}

/** Modules lie in a directory of the machine's kind. */
function hasModule(name: string): boolean {
  const dirs = readdirSync('/usr/lib', { withFileTypes: true }).filter((d) => d.isDirectory());
  return dirs.some(({ name: dir }) => existsSync(join('/usr/lib', dir, 'rsyslog', `${name}.so`)));
}

function rsyslog(name: string, care: Care, durability: string): Contender {
  return {
    name,
    wire: 'RELP over TLS',
    durability,
    source: 'stays and grows',
    packages: ['rsyslog', 'rsyslog-relp'],
    missing: () => [
      ...(onPath('rsyslogd') ? [] : ['rsyslog']),
      ...(hasModule('imrelp') && hasModule('omrelp') ? [] : ['rsyslog-relp']),
    ],
    prepare: (bench) => prepare(bench, care),
  };
}

export const rsyslogUsual = rsyslog('rsyslog', USUAL, 'in the receiver’s memory');
export const rsyslogSynced = rsyslog('rsyslog, synced', SYNCED, 'synced, each line');
