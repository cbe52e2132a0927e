// What tests ask of kafkajs: a line of JSON on stdin, a line of JSON on stdout. Keys and values are base64.
"use strict";
const { Kafka, CompressionCodecs, CompressionTypes, logLevel } = require("kafkajs");
CompressionCodecs[CompressionTypes.Snappy] = require("kafkajs-snappy");

const encode = (bytes) => (bytes === null || bytes === undefined ? null : Buffer.from(bytes).toString("base64"));
const decode = (text) => (text === null ? null : Buffer.from(text, "base64"));

function messagesOf(samples) {
  return samples.map(([key, value, headers, timestamp]) => ({
    key: decode(key),
    value: decode(value),
    headers: Object.fromEntries(headers.map(([name, values]) => [name, values.map(decode)])),
    timestamp: String(timestamp),
    partition: 0,
  }));
}

async function subscribed(kafka, group, topics, fromBeginning) {
  const consumer = kafka.consumer({ groupId: group, sessionTimeout: 6000, heartbeatInterval: 100, rebalanceTimeout: 3000, maxWaitTimeInMs: 50 });
  await consumer.connect();
  for (const topic of topics) {
    const name = topic.startsWith("/") ? new RegExp(topic.slice(1)) : topic;
    await consumer.subscribe({ topic: name, fromBeginning });
  }
  return consumer;
}

// Read until so many messages are there, then commit and leave.
async function consume(kafka, { group, topics, count, fromBeginning = true, seek = null }) {
  const messages = [];
  const consumer = await subscribed(kafka, group, topics, fromBeginning);
  let enough;
  const done = new Promise((resolve) => (enough = resolve));
  await consumer.run({
    eachMessage: async ({ topic, partition, message }) => {
      messages.push({
        topic,
        partition,
        offset: Number(message.offset),
        key: encode(message.key),
        value: encode(message.value),
        headers: Object.entries(message.headers ?? {}).map(([name, values]) => [name, [values].flat().map(encode)]),
        timestamp: Number(message.timestamp),
      });
      if (messages.length >= count) enough();
    },
  });
  if (seek !== null) consumer.seek({ topic: topics[0], partition: 0, offset: String(seek) });
  await done;
  await consumer.disconnect(); // commits
  return messages;
}

// Two members: what each has, and how much each has read, while the first is alone, both are there, and the first has left.
async function rebalance(kafka, { group, topic, partitions }) {
  const members = [];
  const join = async () => {
    const consumer = await subscribed(kafka, group, [topic], true);
    const member = { consumer, assigned: [], read: [] };
    members.push(member);
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => (member.assigned = payload.memberAssignment[topic] ?? []));
    await consumer.run({ eachMessage: async ({ partition, message }) => member.read.push([partition, Number(message.offset)]) });
    return member;
  };
  const stages = [];
  const until = async (done) => {
    while (!done()) await new Promise((resolve) => setTimeout(resolve, 20));
    stages.push(members.map(({ assigned }) => [...assigned].sort()));
  };
  const producer = kafka.producer();
  await producer.connect();
  const send = (value) =>
    producer.send({ topic, messages: Array.from({ length: partitions }, (_, partition) => ({ value, partition })) });
  const inAll = () => members.reduce((sum, { read }) => sum + read.length, 0);

  await send("alone");
  const first = await join();
  await until(() => first.assigned.length === partitions && inAll() === partitions);
  const second = await join();
  await until(() => members.every(({ assigned }) => assigned.length === partitions / 2));
  await send("shared");
  await until(() => inAll() === 2 * partitions);
  await first.consumer.disconnect();
  first.assigned = [];
  await until(() => second.assigned.length === partitions);
  await send("left");
  await until(() => inAll() === 3 * partitions);
  await second.consumer.disconnect();
  await producer.disconnect();
  return { stages, read: members.map(({ read }) => read) };
}

const actions = {
  async produce(kafka, { topic, samples, codec = "None", acks = -1, idempotent = false }) {
    const producer = kafka.producer({ idempotent, maxInFlightRequests: 1, allowAutoTopicCreation: true });
    await producer.connect();
    try {
      const done = await producer.send({ topic, acks, compression: CompressionTypes[codec], messages: messagesOf(samples) });
      return done.map(({ baseOffset, errorCode }) => [baseOffset ?? null, errorCode ?? 0]);
    } finally {
      await producer.disconnect();
    }
  },

  consume,
  rebalance,

  // One transaction that is aborted and one that is committed, both with offsets.
  async transactions(kafka, { topic, group, source }) {
    const producer = kafka.producer({ transactionalId: "x", idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    const offsets = (consumerGroupId, offset) => ({ consumerGroupId, topics: [{ topic: source, partitions: [{ partition: 0, offset }] }] });
    const aborted = await producer.transaction();
    await aborted.send({ topic, messages: [{ value: "aborted" }] });
    await aborted.sendOffsets(offsets(`${group}-aborted`, "9"));
    await aborted.abort();
    const kept = await producer.transaction();
    await kept.send({ topic, messages: [{ key: "k", value: "kept" }] });
    await kept.sendOffsets(offsets(group, "7"));
    await kept.commit();
    await producer.disconnect();
    return null;
  },

  async administration(kafka, { time }) {
    const admin = kafka.admin();
    await admin.connect();
    const made = await admin.createTopics({ topics: [{ topic: "made", numPartitions: 2, configEntries: [{ name: "retention.ms", value: "9" }] }] });
    await admin.createPartitions({ topicPartitions: [{ topic: "made", count: 3 }] });
    const found = {
      made,
      topics: await admin.listTopics(),
      metadata: (await admin.fetchTopicMetadata({ topics: ["made"] })).topics[0].partitions.length,
      ends: (await admin.fetchTopicOffsets("t")).map(({ partition, high, low }) => [partition, Number(low), Number(high)]),
      byTime: (await admin.fetchTopicOffsetsByTimestamp("t", time)).map(({ offset }) => Number(offset)),
      brokers: (await admin.describeCluster()).brokers.length,
    };
    const configs = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type: 2, name: "made", configNames: ["retention.ms"] }] });
    found.retention = configs.resources[0].configEntries[0].configValue;
    await admin.setOffsets({ groupId: "g", topic: "t", partitions: [{ partition: 0, offset: "3" }] });
    found.offsets = (await admin.fetchOffsets({ groupId: "g", topics: ["t"] }))[0].partitions.map(({ offset }) => Number(offset));
    found.groups = (await admin.listGroups()).groups.map(({ groupId }) => groupId);
    found.state = (await admin.describeGroups(["g"])).groups[0].state;
    await admin.deleteTopicRecords({ topic: "t", partitions: [{ partition: 0, offset: "2" }] });
    await admin.deleteGroups(["g"]);
    await admin.deleteTopics({ topics: ["made"] });
    await admin.disconnect();
    return found;
  },
};

async function main() {
  const { brokers, action, ...wanted } = JSON.parse(require("fs").readFileSync(0, "utf8"));
  const kafka = new Kafka({ brokers, clientId: "test", logLevel: logLevel.NOTHING, retry: { initialRetryTime: 30, retries: 5 } });
  try {
    console.log(JSON.stringify({ result: await actions[action](kafka, wanted) }));
  } catch (error) {
    console.log(JSON.stringify({ error: error.type ?? error.name, message: error.message }));
  }
}

main();
