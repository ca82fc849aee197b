import type { Logger } from 'pino';
import { asError, FerryError } from '../common/errors.js';
import { parseRouteName } from '../common/identity.js';
import type { QueueAccess } from '../queue/access.js';
import { type Ask, type AskAnswer, Asks } from '../queue/asks.js';
import type { JournalPipeline } from './journalPipeline.js';

/** Takes what operators ask of this producer's journals, has it carried out, and answers. */
export class OperatorDesk {
  readonly #asks: Asks;
  #looking: Promise<void> | null = null;
  #again = false;

  constructor(
    access: QueueAccess,
    private readonly pipelineOf: (journal: string) => JournalPipeline | null,
    private readonly log: Logger,
  ) {
    this.#asks = new Asks(access.scripts, access.keys);
  }

  /** Somebody may have asked; also called now and then, for news that were lost. */
  look(): void {
    this.#again = true;
    this.#looking ??= this.#lookAtAll()
      .catch((err: unknown) => this.log.debug({ err }, 'the next look at the asks comes'))
      .finally(() => {
        this.#looking = null;
      });
  }

  async #answer(pipeline: JournalPipeline, ask: Ask): Promise<void> {
    const answer = await outcome(pipeline, ask);
    await this.#asks
      .answer(ask.id, answer)
      .catch((err: unknown) => this.log.debug({ err }, 'an answer did not get through'));
  }

  async #lookAtAll(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      for (const ask of await this.#asks.waiting()) {
        const pipeline = this.pipelineOf(parseRouteName(ask.route).journal);
        if (pipeline === null || !(await this.#asks.claim(ask.id))) continue;
        // Not waited for: a long replay is read as a whole first.
        void this.#answer(pipeline, ask);
      }
    }
  }
}

async function outcome(pipeline: JournalPipeline, ask: Ask): Promise<AskAnswer> {
  try {
    return { ok: true, done: await pipeline.carryOut(ask) };
  } catch (cause) {
    const error = asError(cause);
    const known = error instanceof FerryError ? error : null;
    return {
      ok: false,
      code: known?.code ?? 'INTERNAL',
      kind: known?.kind ?? 'storage',
      message: error.message,
      hint: known?.hint ?? 'see the log of the producer',
    };
  }
}
