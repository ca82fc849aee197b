import { Redis } from 'ioredis';
import { atEnd } from './atEnd.js';
import { freePort } from './freePort.js';
import { until } from './process.js';
import { findTestServer, TestRedis } from './redis.js';

/** Long enough for a busy machine, short enough for a test: then a silent node counts as down. */
const NODE_TIMEOUT_MS = 2_000;
const SLOTS = 16_384;
const KEYS_AT_ONCE = 100;
const MIGRATE_TIMEOUT_MS = 5_000;

/** One node, and a connection on which the test gives its orders. */
export class ClusterNode {
  readonly server: TestRedis;
  id = '';
  #admin: Redis | null = null;

  constructor(server: TestRedis) {
    this.server = server;
  }

  get admin(): Redis {
    this.#admin ??= this.#connect();
    return this.#admin;
  }

  get address(): string {
    return `127.0.0.1:${this.server.port}`;
  }

  close(): void {
    this.#admin?.disconnect();
    this.#admin = null;
  }

  #connect(): Redis {
    const client = new Redis({ path: this.server.socketPath, maxRetriesPerRequest: null });
    client.on('error', () => undefined);
    return client;
  }
}

/** A real cluster: primaries that share all slots, and replicas where a test wants them. */
export class TestCluster {
  readonly nodes: ClusterNode[] = [];

  /** Starts it, and registers its end. */
  static async start(primaries: number): Promise<TestCluster> {
    const cluster = new TestCluster();
    atEnd(async () => {
      for (const node of cluster.nodes) node.close();
      await Promise.all(cluster.nodes.map(({ server }) => server.kill()));
    });
    for (let n = 0; n < primaries; n += 1) await cluster.#join();
    const share = Math.ceil(SLOTS / primaries);
    for (const [n, { admin }] of cluster.nodes.entries()) {
      const last = Math.min((n + 1) * share, SLOTS) - 1;
      await admin.call('CLUSTER', 'ADDSLOTSRANGE', String(n * share), String(last));
    }
    await cluster.#agreed();
    return cluster;
  }

  async addReplicaOf(primary: ClusterNode): Promise<ClusterNode> {
    const replica = await this.#join();
    await until('it knows its primary', async () =>
      String(await replica.admin.cluster('NODES')).includes(primary.id),
    );
    await replica.admin.cluster('REPLICATE', primary.id);
    await this.#agreed();
    await until('the replica follows', async () => (await primary.admin.wait(1, 1_000)) === 1);
    return replica;
  }

  /** The primary that serves a key now, as the others see it. */
  async ownerOf(key: string): Promise<ClusterNode> {
    const slot = await this.#first.admin.cluster('KEYSLOT', key);
    for (const [from, to, [, port] = ['', 0]] of await this.#first.admin.cluster('SLOTS')) {
      if (from > slot || slot > to) continue;
      const owner = this.nodes.find(({ server }) => server.port === port);
      if (owner !== undefined) return owner;
    }
    throw new Error(`nobody serves ${key}`);
  }

  /** Moves a key's slot, with all that is in it, as an operator does: under those who use it. */
  async moveSlot(key: string, to: ClusterNode): Promise<void> {
    const from = await this.ownerOf(key);
    const slot = await from.admin.cluster('KEYSLOT', key);
    await to.admin.call('CLUSTER', 'SETSLOT', String(slot), 'IMPORTING', from.id);
    await from.admin.call('CLUSTER', 'SETSLOT', String(slot), 'MIGRATING', to.id);
    for (;;) {
      const keys = await from.admin.cluster('GETKEYSINSLOT', slot, KEYS_AT_ONCE);
      if (keys.length === 0) break;
      const [host, port, none, db] = ['127.0.0.1', String(to.server.port), '', '0'];
      const patience = String(MIGRATE_TIMEOUT_MS);
      await from.admin.call('MIGRATE', host, port, none, db, patience, 'KEYS', ...keys);
    }
    for (const node of [to, from, ...this.nodes]) {
      await node.admin.call('CLUSTER', 'SETSLOT', String(slot), 'NODE', to.id);
    }
  }

  get #first(): ClusterNode {
    const [first] = this.nodes;
    if (first === undefined) throw new Error('no node');
    return first;
  }

  async #join(): Promise<ClusterNode> {
    const { program, name } = await findTestServer();
    const busPort = await freePort();
    const node = new ClusterNode(
      new TestRedis(program, name, await freePort(), {
        'cluster-enabled': 'yes',
        'cluster-port': String(busPort),
        'cluster-node-timeout': String(NODE_TIMEOUT_MS),
        // A replica that was cut off for long is promoted all the same: that is what is tested.
        'cluster-replica-validity-factor': '0',
      }),
    );
    await node.server.start();
    node.id = await node.server.command('CLUSTER', 'MYID');
    const [first] = this.nodes;
    this.nodes.push(node);
    const meet = ['127.0.0.1', String(node.server.port), String(busPort)];
    if (first !== undefined) await first.admin.call('CLUSTER', 'MEET', ...meet);
    return node;
  }

  /** A node that was killed is looked at no more; waits until the others serve all slots again. */
  async without(dead: ClusterNode): Promise<void> {
    this.nodes.splice(this.nodes.indexOf(dead), 1);
    await this.#agreed(this.nodes.length + 1);
  }

  /** Every node knows every other, and all slots are served. */
  async #agreed(count = this.nodes.length): Promise<void> {
    for (const { admin } of this.nodes) {
      await until('the cluster is one', async () => {
        const info = String(await admin.cluster('INFO'));
        return (
          /^cluster_state:ok\r?$/m.test(info) && info.includes(`cluster_known_nodes:${count}\r`)
        );
      });
    }
  }
}
