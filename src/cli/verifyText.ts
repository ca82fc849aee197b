import pc from 'picocolors';
import type {
  AppProof,
  Count,
  Proof,
  ReceivedProof,
  RouteProof,
  SentProof,
  StreamProof,
} from '../verify/report.js';
import { formatBytes } from './format.js';

type Colors = ReturnType<typeof pc.createColors>;

/** What the sender's side proved, as people read it. */
export function renderSent(proof: SentProof, color: boolean): string {
  const colors = pc.createColors(color);
  const since = new Map(proof.journals.map((one) => [one.journal, one]));
  const lines = proof.routes.flatMap((route) => {
    const journal = since.get(route.journal);
    return routeLines(route, journal?.chainSince ?? 1, colors);
  });
  const held = proof.journals.reduce((sum, one) => sum + one.heldBytes, 0);
  const kept = proof.journals.reduce((sum, one) => sum + (one.archived?.bytes ?? 0), 0);
  const read = `${formatBytes(held)} of spools and ${formatBytes(kept)} of archives read`;
  return ending([...lines, ''], proof, `${some(proof.routes.length, 'route')}, ${read}`, colors);
}

function routeLines(route: RouteProof, chainSince: number, colors: Colors): string[] {
  const { captured, confirmed, skipped, waiting, chain } = route;
  const sum = [`${count(confirmed)} confirmed`, `${count(waiting)} waiting`];
  if (skipped.batches > 0) sum.push(`${count(skipped)} given up`);
  const redis =
    route.redisAgrees === null ? '' : route.redisAgrees ? '; Redis agrees' : '; Redis DIFFERS';
  const lines = [
    `${colors.bold(route.route)}${route.orphaned ? ' (orphaned)' : ''}`,
    `    ${count(captured)} captured = ${sum.join(' + ')}${redis}`,
  ];
  if (chain.line !== null) {
    lines.push(`    chain of batches ${chain.since} to ${chain.through}: ${short(chain.head)}`);
    lines.push(`    at the receiver: ferry verify --received DIR --expect ${chain.line}`);
  }
  if (chainSince > 1 && chain.since > 1) {
    lines.push('    batches before were sealed or confirmed by a version without chains');
  }
  if (route.expected !== null)
    lines.push(`    ${expected(route.expected.ahead, 'the receiver', colors)}`);
  return lines;
}

/** What the receiver's side proved, as people read it. */
export function renderReceived(proof: ReceivedProof, color: boolean): string {
  const colors = pc.createColors(color);
  const lines = proof.apps.flatMap((app) => appLines(app, colors));
  const batches = proof.apps.reduce((sum, app) => sum + app.batches - app.removed, 0);
  return ending(
    [...lines, ''],
    proof,
    `${some(proof.apps.length, 'app')}, ${some(batches, 'batch', 'es')} read`,
    colors,
  );
}

function appLines({ app, removed, blobs, streams, ...total }: AppProof, colors: Colors): string[] {
  const gone = removed > 0 ? `, ${removed} of them removed after their use` : '';
  return [
    `${colors.bold(app)}: ${count(total)}${gone}, ${some(blobs, 'blob')}`,
    ...streams.flatMap((stream) => streamLines(stream, colors)),
  ];
}

function streamLines(stream: StreamProof, colors: Colors): string[] {
  const { chain, expected: met } = stream;
  const name = stream.stream === null ? 'without identity' : `stream ${short(stream.stream)}`;
  const lines = [
    `    ${name}: ${count(stream)}, the last is ${stream.lastSequence}; chain ${short(chain.head)}`,
  ];
  if (chain.line !== null)
    lines.push(`    at the sender: ferry verify ROUTE --expect ${chain.line}`);
  if (met !== null) lines.push(`    ${expected(met.ahead, 'this side', colors)}`);
  return lines;
}

function expected(ahead: number, who: string, { green }: Colors): string {
  const more = ahead === 0 ? '' : `; ${who} is ${some(ahead, 'batch', 'es')} ahead`;
  return green(`EQUAL with the other side, in order and complete${more}`);
}

function ending(lines: string[], proof: Proof, what: string, colors: Colors): string {
  const { red, yellow, green } = colors;
  for (const one of proof.differences) {
    const where = [...one.routes, ...(one.app === null ? [] : [one.app])].join(', ');
    lines.push(`${red('DIFFERENCE')} ${where}${where === '' ? '' : ': '}${one.what} (${one.code})`);
    lines.push(`    do: ${one.do}`);
  }
  if (proof.omitted > 0) lines.push(`... and ${proof.omitted} more`);
  for (const one of proof.unchecked) {
    const about = one.about === null ? '' : `${one.about}: `;
    lines.push(`${yellow('NOT CHECKED')} ${about}${one.what}: ${one.do}`);
  }
  const all = proof.differences.length + proof.omitted;
  if (all > 0) lines.push(red(`${some(all, 'DIFFERENCE', 'S')}: ${what}`));
  else if (proof.complete) lines.push(green(`PROVED: ${what}`));
  else lines.push(yellow(`NO DIFFERENCE in what could be checked: ${what}`));
  return `${lines.join('\n')}\n`;
}

function count({ batches, bytes }: Count): string {
  return `${some(batches, 'batch', 'es')} (${some(bytes, 'byte')})`;
}

function some(number: number, noun: string, ending = 's'): string {
  return `${number} ${noun}${number === 1 ? '' : ending}`;
}

/** Enough to see that two are not the same. */
const SHORT_DIGITS = 12;

function short(digits: string | null): string {
  return digits === null ? '-' : digits.slice(0, SHORT_DIGITS);
}
