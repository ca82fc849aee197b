import { extended } from '../common/chain.js';
import type { RouteMark, SpoolView } from '../producers/spool/types.js';
import type { ChainLine } from './chainLine.js';

export type ExpectVerdict =
  | { is: 'proved'; ahead: number }
  | { is: 'differs'; code: string; what: string; do: string };

/**
 * Whether the receiver's line says the same as the spool's chain of the route. The receiver may be
 * ahead: what it has accepted and the spool has not heard of is still in the spool.
 */
export function compareWithReceiver(
  view: SpoolView,
  mark: RouteMark,
  { chain: theirs }: ChainLine,
): ExpectVerdict {
  let ours = mark.chain;
  for (let sequence = mark.acked + 1; sequence <= theirs.through; sequence += 1) {
    const batch = view.batch(sequence);
    if (batch === undefined) {
      return {
        is: 'differs',
        code: 'RECEIVER_AHEAD',
        what: `the receiver holds batch ${theirs.through} of this stream, the spool ends at ${view.lastSequence}`,
        do: 'the state directory is an older copy, or the line is of another time: see Backups in docs/operations.md',
      };
    }
    ours = extended(ours, sequence, batch.sha256);
  }
  if (theirs.through < ours.through) {
    return {
      is: 'differs',
      code: 'RECEIVER_BEHIND',
      what: `the line ends at batch ${theirs.through}, but everything through ${ours.through} is confirmed here`,
      do: 'take the line again at the receiver; if it still ends there, its data folder is an older copy',
    };
  }
  if (theirs.since !== ours.since) {
    return {
      is: 'differs',
      code: 'NOT_COMPARABLE',
      what: `the line begins at batch ${theirs.since}, the chain here at ${ours.since}`,
      do: 'compare the other way: paste the line of this route at the receiver',
    };
  }
  if (theirs.head !== ours.head) {
    return {
      is: 'differs',
      code: 'CHAIN_DIFFERS',
      what: `through batch ${theirs.through} the receiver holds other batches than were confirmed here`,
      do: 'look with ferry verify --received DIR at the receiver what is wrong there, and seed it again',
    };
  }
  return { is: 'proved', ahead: theirs.through - mark.chain.through };
}
