/** The part of fs-native-extensions 1.5 that we use; the package ships no types. */
declare module 'fs-native-extensions' {
  interface LockOptions {
    shared?: boolean;
  }
  /** Open-file-description lock on the whole file; false when another holder excludes it. */
  export function tryLock(fd: number, options?: LockOptions): boolean;
  /** Waits in a thread of its own; cannot be cancelled. */
  export function waitForLock(fd: number, options?: LockOptions): Promise<void>;
  export function unlock(fd: number): void;
  /** Punches a hole: the file's size stays, the range reads as zeros. */
  export function trim(fd: number, offset: number, length: number): Promise<void>;
}
