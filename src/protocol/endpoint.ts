/** Where one attempt goes, with everything resolved: the addresses and key bytes of this moment. */
export interface Endpoint {
  /** The destination's name in the configuration: for messages, and for remembered TLS sessions. */
  name: string;
  /** Host name or IP address. */
  host: string;
  port: number;
  /** What stands as `Host` in the request; default: host and port. */
  hostHeader?: string;
  /** Path of the request without its leading slash: `foo.r/!replica`. */
  url: string;
  /** The key file's bytes, verbatim; must end in a newline. Never logged. */
  key: Buffer;
  /**
   * `acked`: blobs with length and `T` (2022). `eof`: blobs until end of file (2015). `h2`: HTTP/2,
   * to receivers of ours.
   */
  dialect: 'acked' | 'eof' | 'h2';
  /**
   * `applied`: success is the server's EOF after our half-close. `acked`: the `T` is enough. Over
   * HTTP/2 both are the 204.
   */
  confirm: 'applied' | 'acked';
  tls: {
    /** False: neither chain nor name is checked (a leading `-` at bin/ssl's port). */
    verify: boolean;
    /** PEM; when given, nothing else is trusted. */
    ca: Buffer | null;
    /** PEM, trusted beside Node's own roots when `ca` is null: SSL_CERT_FILE or the system's. */
    extraCa?: Buffer | null;
    /** The name to check and to send as SNI instead of `host`. */
    servername: string | null;
    /** A certificate of ours and its key, PEM, for a server that asks for one. */
    client?: { cert: Buffer; key: Buffer } | null;
  };
  timeouts: {
    /** Name lookup, TCP connect and TLS handshake together. */
    connectMs: number;
    /** Longest time without a byte moving in either direction. */
    idleMs: number;
    /** From `T` to the server's EOF, with `confirm: applied`; over HTTP/2 from the end to the answer. */
    applyMs: number;
  };
}

/** `host:port`, for people. */
export function addressOf(endpoint: Pick<Endpoint, 'host' | 'port'>): string {
  return endpoint.host.includes(':')
    ? `[${endpoint.host}]:${endpoint.port}`
    : `${endpoint.host}:${endpoint.port}`;
}
