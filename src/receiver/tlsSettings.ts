import type { FileSystem } from '../common/fileSystem.js';
import type { ReceiverTls } from '../config/model.js';
import { TicketKeys } from './ticketKeys.js';
import { readTlsFiles, type TlsFiles } from './tlsFiles.js';

/** What handshakes are made with. */
export interface TlsMaterial {
  files: TlsFiles;
  ticketKeys: Buffer;
}

/** The receiver's TLS: certificates as last read, and the keys of session tickets. */
export class TlsSettings {
  readonly #config: ReceiverTls;
  readonly #tickets: TicketKeys;
  #current: TlsMaterial;

  private constructor(config: ReceiverTls, tickets: TicketKeys, current: TlsMaterial) {
    this.#config = config;
    this.#tickets = tickets;
    this.#current = current;
  }

  /** @throws FerryError TLS_FILE_MISSING, TLS_FILES_INVALID */
  static async load(config: ReceiverTls, fs: FileSystem, folder: string): Promise<TlsSettings> {
    const tickets = new TicketKeys(fs, folder, config.ticketKeysMs);
    const files = await readTlsFiles(config);
    return new TlsSettings(config, tickets, { files, ticketKeys: await tickets.current() });
  }

  get current(): TlsMaterial {
    return this.#current;
  }

  /** Reads the files again. @throws FerryError TLS_FILE_MISSING, TLS_FILES_INVALID */
  async reload(): Promise<TlsMaterial> {
    this.#current = { ...this.#current, files: await readTlsFiles(this.#config) };
    return this.#current;
  }

  /** @returns null: the ticket keys are not old yet */
  async renewTicketKeys(): Promise<TlsMaterial | null> {
    const ticketKeys = await this.#tickets.current();
    if (ticketKeys.equals(this.#current.ticketKeys)) return null;
    this.#current = { ...this.#current, ticketKeys };
    return this.#current;
  }
}
