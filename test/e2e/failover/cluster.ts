import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { it } from 'node:test';
import { until } from '../../support/process.js';
import { CLUSTER_RIGHTS, NEEDED_RIGHTS } from '../../support/redis.js';
import { TestCluster } from '../../support/redisCluster.js';
import { Site, Writer } from '../site.js';

/** A prefix whose slot the wanted node serves, or does not. */
async function prefixOn(
  cluster: TestCluster,
  node: { id: string },
  wanted: boolean,
  name: string,
): Promise<string> {
  for (let n = 0; ; n += 1) {
    const prefix = `${name}${n}`;
    const owner = await cluster.ownerOf(`{${prefix}}:routes`);
    if ((owner.id === node.id) === wanted) return prefix;
  }
}

/** Registers the test of a cluster of three nodes and a replica. */
export function clusterTests(): void {
  it('of a cluster to a replica that lagged, while another slot moves to another node: nothing is lost, doubled or out of order', async () => {
    const cluster = await TestCluster.start(3);
    const owner = await cluster.ownerOf('{ferry}:routes');
    const replica = await cluster.addReplicaOf(owner);
    // Rights are not replicated: every node has to know its user.
    const rights = ['on', '>secret', '~*', '&*', ...NEEDED_RIGHTS, ...CLUSTER_RIGHTS];
    for (const { server } of cluster.nodes) {
      await server.command('ACL', 'SETUSER', 'shipper', ...rights);
    }
    const moving = await prefixOn(cluster, owner, false, 'moving');
    const site = await Site.make();
    const receiver = await site.startReceiver();
    // Those who are asked know where our slot is, and do not serve it themselves.
    const seeds = cluster.nodes.filter((node) => node !== owner && node !== replica);
    const configure = async (
      payloads: 'spool' | 'redis',
      prefix: string,
      journal: string,
    ): Promise<void> => {
      await mkdir(site.path(journal, 'fifo'), { recursive: true });
      await site.configure(
        {
          redis: `{cluster: [${seeds.map(({ address }) => `"${address}"`).join(', ')}], username: shipper, password: secret, prefix: ${prefix}}`,
          payloads,
          destinations: { replica: { port: receiver.port } },
          journals: [`name: ${journal}, path: fifo/${journal}, to: replica, interval: 200ms`],
        },
        journal,
      );
    };
    await configure('redis', 'ferry', 'chunks');
    await configure('spool', await prefixOn(cluster, owner, true, 'second'), 'spooled');
    await configure('redis', moving, 'moved');
    const roles = await Promise.all([
      site.start('producer', { subdir: 'chunks' }),
      site.start('worker', { subdir: 'chunks' }),
      site.start('worker', { subdir: 'chunks' }),
      site.start('producer', { subdir: 'spooled' }),
      site.start('worker', { subdir: 'spooled' }),
      site.start('run', { subdir: 'moved' }),
    ]);
    const writers = ['chunks', 'spooled', 'moved'].map(
      (name) => new Writer(site.path(name, 'fifo', name)),
    );
    const commits = async (count: number): Promise<void> => {
      for (let commit = 0; commit < count; commit += 1) {
        for (const writer of writers) await writer.commit(5_000);
      }
    };
    const allArrived = async (): Promise<void> => {
      for (const writer of writers) {
        await site.arrived(writer.path.split('/').at(-1) ?? '', writer.written);
      }
    };
    await commits(3);
    await allArrived();
    await until('the replica knows it', async () => (await owner.admin.wait(1, 1_000)) === 1);

    // From here on the replica hears nothing: neither of what is confirmed nor of what waits.
    replica.server.pause();
    await owner.admin.call('CLIENT', 'KILL', 'TYPE', 'replica');
    await commits(5);
    await allArrived();
    for (const name of ['chunks', 'spooled']) {
      await until('the acks are in the spool', async () => {
        const [route] = (await site.status(name)).routes;
        return route?.state === 'idle' && route.pendingBatches === 0;
      });
    }
    await receiver.process.kill('SIGTERM');
    await commits(3);
    await until('some wait in Redis', async () => {
      const [route] = (await site.status('chunks')).routes;
      return route?.state === 'retrying' && route.attempts > 0;
    });
    owner.close();
    await owner.server.kill();
    replica.server.resume();
    await until('the replica is promoted', async () =>
      /role:master/.test(await replica.admin.info('replication')),
    );
    await cluster.without(owner);
    const from = await cluster.ownerOf(`{${moving}}:routes`);
    const to = seeds.find((node) => node !== from);
    assert.ok(to !== undefined);
    await cluster.moveSlot(`{${moving}}:routes`, to);
    await commits(2);
    await site.startReceiver(receiver.port);
    await allArrived();
    for (const name of ['chunks', 'spooled']) {
      const audit = await readFile(site.path(name, 'state/audit.log'), 'utf8');
      assert.match(audit, /"event":"redis-loss"/, 'the replica had all of it: nothing was tested');
    }
    // A moved slot takes all of it along: nothing was lost.
    const audit = await readFile(site.path('moved/state/audit.log'), 'utf8').catch(() => '');
    assert.doesNotMatch(audit, /redis-loss/);
    for (const role of roles) await role.kill('SIGTERM');
  });
}
