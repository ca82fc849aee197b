/** What the checks ask of the machine; the names of file systems, users and rights. */
import { constants } from 'node:fs';
import { access, readFile, stat, statfs } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { dirname } from 'node:path';

/** How a file system treats locks and data, as far as we have to warn of it. */
export type FileSystemKind = 'local' | 'memory' | 'network' | 'unknown';

/** Linux: magic numbers of statfs(2). */
const FILE_SYSTEMS: ReadonlyMap<number, readonly [name: string, kind: FileSystemKind]> = new Map([
  [0xef53, ['ext4', 'local']],
  [0x58465342, ['xfs', 'local']],
  [0x9123683e, ['btrfs', 'local']],
  [0x2fc12fc1, ['zfs', 'local']],
  [0xf2f52010, ['f2fs', 'local']],
  [0xca451a4e, ['bcachefs', 'local']],
  [0x794c7630, ['overlayfs', 'local']],
  [0x01021994, ['tmpfs', 'memory']],
  [0x858458f6, ['ramfs', 'memory']],
  [0x6969, ['NFS', 'network']],
  [0xff534d42, ['CIFS', 'network']],
  [0xfe534d42, ['SMB', 'network']],
  [0x01021997, ['9p', 'network']],
  [0x00c36400, ['Ceph', 'network']],
  [0x65735546, ['FUSE', 'network']],
  [0x0bd00bd0, ['Lustre', 'network']],
  [0x47504653, ['GPFS', 'network']],
]);

export interface Volume {
  /** `ext4`; the number where we have no name for it. */
  name: string;
  kind: FileSystemKind;
  freeBytes: number;
  /** Null: this file system does not count them. */
  freeInodes: number | null;
}

/** The file system that a path lies on, or will lie on once it is made. */
export async function volumeOf(path: string): Promise<Volume> {
  const { type, bavail, bsize, files, ffree } = await statfs(await existingAbove(path));
  const known = process.platform === 'linux' ? FILE_SYSTEMS.get(type >>> 0) : undefined;
  const [name, kind] = known ?? [`file system 0x${type.toString(16)}`, 'unknown'];
  return { name, kind, freeBytes: bavail * bsize, freeInodes: files === 0 ? null : ffree };
}

/** The path itself, or the nearest directory above it that is there. */
export async function existingAbove(path: string): Promise<string> {
  for (let at = path; ; at = dirname(at)) {
    if ((await exists(at)) || dirname(at) === at) return at;
  }
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Which of the wanted rights this user lacks: `read`, `write`, `enter`. */
export async function lackingRights(
  path: string,
  wanted: readonly ('read' | 'write' | 'enter')[],
): Promise<string[]> {
  const flags = { read: constants.R_OK, write: constants.W_OK, enter: constants.X_OK };
  const lacking: string[] = [];
  for (const right of wanted) {
    await access(path, flags[right]).catch(() => lacking.push(right));
  }
  return lacking;
}

export function currentUser(): { name: string; uid: number } {
  const uid = process.getuid?.() ?? -1;
  try {
    return { name: userInfo().username, uid };
  } catch {
    return { name: `user ${uid}`, uid }; // one without an entry in the password file
  }
}

/** The name of a user, as far as /etc/passwd tells it. */
export async function userName(uid: number): Promise<string> {
  const passwd = await readFile('/etc/passwd', 'utf8').catch(() => '');
  const line = passwd.split('\n').find((text) => text.split(':')[2] === String(uid));
  return line?.split(':')[0] ?? `user ${uid}`;
}

/** `who owns it` for a hint: `run this as pil, to whom it belongs`. */
export async function ownerHint(path: string): Promise<string> {
  const { uid } = await stat(path);
  const user = currentUser();
  return uid === user.uid
    ? `correct its mode: chmod u+rwX ${path}`
    : `run ferry, and this, as ${await userName(uid)}, to whom it belongs (you are ${user.name})`;
}

/** Permission bits as people write them: `0640`. */
export function modeText(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}
