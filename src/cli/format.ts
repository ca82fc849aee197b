/** Numbers as people read them, for the tables of commands. */
export { formatAge, formatBytes } from '../common/format.js';
