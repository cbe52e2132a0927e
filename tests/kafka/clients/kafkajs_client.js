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

// Read until so many messages are there, then commit and leave.
async function consume(kafka, { group, topics, count, members = 1, fromBeginning = true, seek = null }) {
  const messages = [];
  const consumers = [];
  let assigned = 0;
  let enough;
  const done = new Promise((resolve) => (enough = resolve));
  for (let n = 0; n < members; n++) {
    const consumer = kafka.consumer({ groupId: group, sessionTimeout: 6000, heartbeatInterval: 100, rebalanceTimeout: 3000, maxWaitTimeInMs: 50 });
    consumers.push(consumer);
    await consumer.connect();
    for (const topic of topics) {
      const name = topic.startsWith("/") ? new RegExp(topic.slice(1)) : topic;
      await consumer.subscribe({ topic: name, fromBeginning });
    }
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      assigned = Math.max(assigned, payload.memberAssignment[topics[0]]?.length ?? 0);
    });
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
          member: n,
        });
        if (messages.length >= count) enough();
      },
    });
    if (seek !== null) consumer.seek({ topic: topics[0], partition: 0, offset: String(seek) });
  }
  await done;
  for (const consumer of consumers) await consumer.disconnect(); // commits
  return messages;
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

  // One transaction that is aborted, one that is committed with offsets.
  async transactions(kafka, { topic, group, source }) {
    const producer = kafka.producer({ transactionalId: "x", idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    const aborted = await producer.transaction();
    await aborted.send({ topic, messages: [{ value: "aborted" }] });
    await aborted.abort();
    const kept = await producer.transaction();
    await kept.send({ topic, messages: [{ key: "k", value: "kept" }] });
    await kept.sendOffsets({ consumerGroupId: group, topics: [{ topic: source, partitions: [{ partition: 0, offset: "7" }] }] });
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
