import {
  atMost,
  type Comparison,
  interleaved,
  medianOf,
  round,
  type Sample,
} from '../harness/comparison.js';
import { packageVersion } from '../harness/machine.js';
import { LINE_BYTES } from '../peers/lines.js';
import { lsyncd } from '../peers/lsyncd.js';
import { burst, type Survived, underKills } from '../peers/measure.js';
import { ours } from '../peers/ours.js';
import { rsyslogSynced, rsyslogUsual } from '../peers/rsyslog.js';

const CONTENDERS = [ours, rsyslogSynced, rsyslogUsual, lsyncd];
const FAULTS = ['lost', 'duplicated', 'reordered', 'torn'] as const;

export const peers: Comparison = {
  name: 'peers',
  title: 'What else ships a growing file',
  text: `The same lines of ${LINE_BYTES} bytes, appended under the lock to a file that its writer keeps open. *Burst*: as many as the writer can append at once, until they are in the receiver's file, or for 10 s. *Kills*: 100 lines per second, and SIGKILL to the sender's side, then to the receiver's, and so on, each time when something has arrived since it was started again; to its process and all that it has started (with ours the Redis, too); all four at once. Then everything may heal, until all is there or nothing has come for 25 s; who is not through after two minutes has an asterisk, and what is missing there need not be lost. Then what is in the receiver's file is compared with what was written. All on loopback, as processes of the measurement's own. rsyslog: \`imfile\` to RELP over TLS with a disk-assisted queue, as its manual has it; *synced* is the same with everything that it can be told to have on the disk before it is called done: queues on the disk, each step noted, each line synced. lsyncd starts rsync at most once a second (\`--append --fsync\`, to rsync's own daemon, without TLS); what it makes is a copy of the whole file, so the file can never be emptied.`,
  rounds: 2,
  async run(lab, { rounds, quick }) {
    const [lines, kills] = quick ? [500, 4] : [20_000, 20];
    const here = CONTENDERS.filter((one) => one.missing().length === 0);
    const notes = CONTENDERS.filter((one) => one.missing().length > 0).map(
      (one) => `Not measured: ${one.name}, for lack of ${one.missing().join(' and ')}.`,
    );
    for (const note of notes) lab.say(note);
    const samples: Record<string, Sample[]> = await interleaved(
      rounds,
      Object.fromEntries(
        here.map((one) => [one.name, () => lab.measure((bench) => burst(bench, one, lines))]),
      ),
      lab.say,
    );
    const counted = new Map<string, Survived>();
    for (const one of here) {
      counted.set(one.name, await lab.measure((bench) => underKills(bench, one, kills, lab.say)));
    }
    const row = (head: string, of: (name: string) => number): string[] => [
      head,
      ...here.map(({ name }) => round(of(name))),
    ];
    const versions = here.flatMap((one) => one.packages);
    if (versions.length > 0) {
      notes.push(
        `Versions: ${[...new Set(versions)].map((name) => `${name} ${packageVersion(name)}`).join(', ')}.`,
      );
    }
    return {
      tables: [
        {
          heads: ['', ...here.map(({ name }) => name)],
          rows: [
            ['wire', ...here.map(({ wire }) => wire)],
            ['delivered means', ...here.map(({ durability }) => durability)],
            ['the shipped file', ...here.map(({ source }) => source)],
            ...['lines/s', 'MB/s'].map((figure) =>
              row(`burst, ${figure}`, (name) => medianOf(samples[name] ?? [], figure)),
            ),
            row(`lines written during ${kills} kills`, (name) => counted.get(name)?.written ?? 0),
            ...FAULTS.map((fault) => [
              fault,
              ...here.map(({ name }) => {
                const survived = counted.get(name);
                const mark = fault === 'lost' && survived?.isLate ? ' *' : '';
                return `${round(survived?.[fault] ?? 0)}${mark}`;
              }),
            ]),
          ],
        },
      ],
      verdicts: [
        atMost(
          `ours after ${kills} kills: lost, duplicated, reordered and torn together`,
          FAULTS.reduce((sum, fault) => sum + (counted.get(ours.name)?.[fault] ?? 0), 0),
          0,
          '',
        ),
      ],
      notes,
    };
  },
};
