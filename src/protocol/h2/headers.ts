import { constants, type OutgoingHttpHeaders, sensitiveHeaders } from 'node:http2';
import { FerryError } from '../../common/errors.js';
import { checkBlobPath, checkUrl } from '../encode.js';
import { addressOf, type Endpoint } from '../endpoint.js';
import { formatBatchKey, formatBlobKey, formatDigest } from '../identityHeaders.js';
import type { SendRequest } from '../send.js';

const { HTTP2_HEADER_AUTHORITY, HTTP2_HEADER_METHOD, HTTP2_HEADER_PATH, HTTP2_HEADER_SCHEME } =
  constants;

/** A key as a header can hold it: one line, blanks only inside. */
const HEADER_KEY = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;

/**
 * The headers of a request: `POST /<app>` with a batch, `PUT /<app>/blobs/<path>` with a blob.
 *
 * @throws FerryError URL_INVALID, BLOB_PATH_INVALID, KEY_NOT_ONE_LINE
 */
export function requestHeaders(
  request: Pick<SendRequest, 'endpoint' | 'body' | 'bytes' | 'identity'>,
): OutgoingHttpHeaders {
  const { endpoint, body, bytes, identity } = request;
  checkUrl(endpoint.url);
  const [app = ''] = endpoint.url.split('/', 1);
  const isBatch = body.kind === 'batch';
  const headers: OutgoingHttpHeaders = {
    [HTTP2_HEADER_METHOD]: isBatch ? 'POST' : 'PUT',
    [HTTP2_HEADER_SCHEME]: 'https',
    [HTTP2_HEADER_AUTHORITY]: endpoint.hostHeader ?? addressOf(endpoint),
    [HTTP2_HEADER_PATH]: isBatch ? `/${app}` : `/${app}/blobs/${encodedPath(body.path)}`,
    authorization: `Bearer ${bearer(endpoint)}`,
    'content-type': 'application/octet-stream',
    'content-length': bytes,
    // Never in a compression table, at no hop: nobody may guess at it by the size of what follows.
    [sensitiveHeaders]: ['authorization'],
  };
  if (identity !== undefined) {
    headers['idempotency-key'] =
      'sequence' in identity ? formatBatchKey(identity) : formatBlobKey(identity);
    if (identity.sha256 !== undefined) headers['content-digest'] = formatDigest(identity.sha256);
  }
  return headers;
}

/** The key file's text without the newline at its end, which no header can hold. */
function bearer({ key, name }: Endpoint): string {
  const text = key.toString('latin1').replace(/\r?\n$/, '');
  if (HEADER_KEY.test(text)) return text;
  throw new FerryError('KEY_NOT_ONE_LINE', 'the key is not one line of printable ASCII', {
    kind: 'destination',
    hint: 'over HTTP/2 it travels in a header: write such a key, here and at the receiver',
    context: { destination: name },
  });
}

function encodedPath(path: string): string {
  checkBlobPath(path);
  try {
    return path.split('/').map(encodeURIComponent).join('/');
  } catch (cause) {
    throw new FerryError('BLOB_PATH_INVALID', 'a blob path that is no Unicode cannot be sent', {
      kind: 'usage',
      hint: 'rename what the link points to',
      cause,
    });
  }
}
