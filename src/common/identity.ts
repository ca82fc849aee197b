/**
 * Who a batch or blob is. Born in the spool, carried through Redis and over the wire, kept by a
 * receiver of ours: it survives the loss of any one of them.
 */

/** A batch of one journal, the same on all its routes. */
export interface BatchIdentity {
  /** Random id made with the journal's spool: 32 lower-case hex digits. */
  stream: string;
  /** Dense from 1 in the order of capture. */
  sequence: number;
  /** Length in bytes. */
  bytes: number;
  /** SHA-256 of the bytes, 64 lower-case hex digits. */
  sha256: string;
}

/** What our sender tells a receiver of ours about a batch, in request headers. */
export interface WireIdentity {
  stream: string;
  sequence: number;
  /** The sequence last confirmed on this route and stream; 0 for the first. Not always sequence - 1. */
  previous: number;
  sha256: string;
}

/** What our sender tells a receiver of ours about a blob: its version rises per link. */
export interface BlobIdentity {
  stream: string;
  /** Rises per link text, for ever; numbers may be left out (one counter serves a journal). */
  version: number;
  sha256?: string;
}

/** Route name: `<journal>@<destination>`. */
export function routeName(journal: string, destination: string): string {
  return `${journal}@${destination}`;
}

/** The two halves of a route name; destination names hold no `@`, so the last one divides. */
export function parseRouteName(route: string): { journal: string; destination: string } {
  const at = route.lastIndexOf('@');
  return { journal: route.slice(0, at), destination: route.slice(at + 1) };
}
