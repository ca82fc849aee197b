import { after } from 'node:test';

let register: (tidy: () => void | Promise<void>) => void = (tidy) => after(tidy);

/** Registers what ends or removes something when the test file is over. */
export function atEnd(tidy: () => void | Promise<void>): void {
  register(tidy);
}

/** For programs that are no tests but use this support: they end and remove everything themselves. */
export function tidyingIsOurs(): void {
  register = () => undefined;
}
