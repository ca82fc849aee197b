/** Also used by the spool, where it lives. */
export { Semaphore } from '../spool/semaphore.js';
