/**
 * Opens a KafkaHub stream with fetch and keeps it open: resumes exactly, waits as it is told, and
 * lets a slow handler slow the server down. No dependencies; browsers and Node 20.
 *
 *   import { openStream } from "https://hub.example/static/kafkahub-stream.js";
 *   const stream = openStream({ url: "https://hub.example", topics: ["orders"], ticket: fetchTicket,
 *                               onMessage: (record) => show(record) });
 *   for await (const record of openStream({ … })) { … }   // the same without onMessage
 */

const HEARTBEAT_MS = 15_000;
const DEAD_AFTER = 2.5; // heartbeats without a byte
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
const LIVE_MS = 30_000; // a connection that lasted so long was a good one
const SAVE_EVERY_MS = 1_000;
const FINAL = new Set([400, 403, 404, 406, 414, 501]);

/** Why a stream ended for good: `code`, `status`, and `cursor`, from where it could go on. */
export class StreamError extends Error {
  constructor(message, members = {}) {
    super(message);
    this.name = "StreamError";
    Object.assign(this, { code: "closed", status: null, cursor: null }, members);
  }
}

/** Turns text, cut anywhere, into events; `id` is null where the event had none of its own. */
export class Parser {
  #rest = "";
  #skipLineFeed = false;
  #event = "";
  #data = [];
  #id = null;

  *feed(text) {
    if (this.#skipLineFeed && text) {
      if (text[0] === "\n") text = text.slice(1);
      this.#skipLineFeed = false;
    }
    let buffer = this.#rest + text;
    const ends = /\r\n|\r|\n/g;
    let start = 0;
    for (let end = ends.exec(buffer); end; end = ends.exec(buffer)) {
      const event = this.#line(buffer.slice(start, end.index));
      start = ends.lastIndex;
      // The line feed of this carriage return may come with the next piece.
      if (end[0] === "\r" && start === buffer.length) this.#skipLineFeed = true;
      if (event) yield event;
    }
    this.#rest = buffer.slice(start);
  }

  #line(line) {
    if (line === "") return this.#end();
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#event = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    return null;
  }

  #end() {
    const event = { event: this.#event || "message", data: this.#data.join("\n"), id: this.#id };
    const isWhole = this.#data.length > 0;
    [this.#event, this.#data, this.#id] = ["", [], null];
    return isWhole ? event : null;
  }
}

/** Returns an open stream: `close()`, `cursor`, `closed` (a promise of its error, or null). */
export function openStream(options) {
  return new Stream(options);
}

class Stream {
  #options;
  #ended = new AbortController();
  #finish;
  #key;
  #savedAt = 0;
  #failures = 0;
  #silent = 0; // connections in a row that brought no byte in time
  #heartbeatMs = HEARTBEAT_MS;
  #credential = null;
  #askedAnew = false;
  #reader = null; // who waits in `for await`
  #taken = null; // told when the record before was worked through
  #channel = null;
  #order = Promise.resolve();
  #state = "";
  #isStarted = false;

  constructor(options) {
    this.#options = options;
    this.#key = options.storageKey ?? keyOf(options);
    this.cursor = options.cursor ?? options.storage?.getItem(this.#key) ?? null;
    this.closed = new Promise((resolve) => (this.#finish = resolve));
    options.signal?.addEventListener("abort", () => this.close(), { once: true });
    globalThis.addEventListener?.("pagehide", () => this.#save(), { signal: this.#ended.signal });
    if (options.signal?.aborted) this.close();
    else if (options.onMessage) this.#start();
  }

  /** Ends the stream; what was read so far stays saved. */
  close() {
    this.#end(null);
  }

  async *[Symbol.asyncIterator]() {
    if (!this.#options.onMessage) this.#start();
    try {
      for (;;) {
        const next = new Promise((resolve) => (this.#reader = resolve));
        this.#taken?.();
        const record = await Promise.race([next, this.closed.then((error) => ({ error }))]);
        if ("error" in record) {
          if (record.error) throw record.error;
          return;
        }
        yield record.value;
      }
    } finally {
      this.close();
    }
  }

  #start() {
    if (this.#isStarted) return;
    this.#isStarted = true;
    if (!this.#options.share || !globalThis.navigator?.locks) {
      this.#run();
      return;
    }
    this.#channel = new BroadcastChannel(this.#key);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    const { signal } = this.#ended;
    navigator.locks.request(this.#key, { signal }, () => this.#run()).catch(() => {});
    this.#tell("shared");
  }

  /** Another tab has the connection: its events arrive here, one after the other. */
  #hear(told) {
    this.#order = this.#order.then(async () => {
      if (told.error) this.#end(new StreamError(told.error.message, told.error));
      else if (!this.#ended.signal.aborted) await this.#handle(told);
    }).catch((error) => this.#end(error));
  }

  async #run() {
    await this.#order;
    while (!this.#ended.signal.aborted) {
      const openedAt = Date.now();
      let waitMs = null;
      try {
        waitMs = await this.#connect();
      } catch (error) {
        if (error instanceof StreamError || error?.isOurs) {
          this.#end(error.cause ?? error);
          return;
        }
      }
      if (this.#ended.signal.aborted) return;
      if (Date.now() - openedAt >= LIVE_MS) this.#failures = 0;
      const most = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(this.#failures, 10));
      if (waitMs === null) this.#failures += 1;
      if (this.#silent < 2) this.#tell("waiting");
      await this.#pause(waitMs ?? Math.random() * most);
    }
  }

  /** One connection, from request to end. Returns how long to wait, or null for a guess. */
  async #connect() {
    if (!this.#state) this.#tell("connecting");
    const cut = new AbortController();
    const end = () => cut.abort();
    this.#ended.signal.addEventListener("abort", end, { once: true });
    try {
      const request = await this.#request(cut.signal);
      const response = await this.#inTime(fetch(...request), cut);
      if (response.status !== 200) return await this.#refused(response);
      this.#askedAnew = false;
      return await this.#read(response.body.getReader(), cut);
    } finally {
      this.#ended.signal.removeEventListener("abort", end);
      cut.abort();
    }
  }

  async #request(signal) {
    const { url, topics = [], token, ticket, filter, from, since, format, gapMode } = this.#options;
    const address = new URL(url, globalThis.location?.href);
    if (!address.pathname.includes("/streams/")) {
      address.pathname = `${address.pathname.replace(/\/$/, "")}/streams/${topics.join(",")}`;
    }
    const query = { filter: text(filter), from, since, format, on_gap: gapMode, errors: "http" };
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined && value !== null) address.searchParams.set(name, value);
    }
    const headers = {};
    this.#credential ??= await valueOf(token ?? ticket);
    if (token) headers.Authorization = `Bearer ${this.#credential}`;
    else if (ticket) address.searchParams.set("ticket", this.#credential);
    // A header of our own would cost a preflight, which a token costs anyway.
    if (this.cursor && token) headers["Last-Event-ID"] = this.cursor;
    else if (this.cursor) address.searchParams.set("last_event_id", this.cursor);
    const credentials = token || ticket ? "omit" : "include";
    return [address, { headers, signal, credentials, cache: "no-store" }];
  }

  async #refused(response) {
    const { status } = response;
    const problem = await response.json().catch(() => ({}));
    const again = [this.#options.token, this.#options.ticket].some((each) => isFunction(each));
    if (status === 401 && again && !this.#askedAnew) {
      this.#askedAnew = true;
      this.#credential = null;
      return 0;
    }
    if (status === 204 || status === 401 || FINAL.has(status)) {
      const code = status === 204 ? "stopped" : (problem.code ?? "refused");
      const cursor = this.cursor;
      throw new StreamError(problem.detail ?? `status ${status}`, { code, status, cursor });
    }
    const seconds = Number(response.headers.get("Retry-After"));
    return seconds > 0 ? seconds * 1_000 : null;
  }

  async #read(reader, cut) {
    const parser = new Parser();
    const decoder = new TextDecoder();
    let isFirst = true;
    for (;;) {
      let piece;
      try {
        piece = await this.#inTime(reader.read(), cut);
      } catch (error) {
        if (isFirst && error?.isSilence && ++this.#silent === 2) this.#tell("buffered");
        throw error;
      }
      if (piece.done) return null;
      isFirst = false;
      this.#silent = 0;
      for (const event of parser.feed(decoder.decode(piece.value, { stream: true }))) {
        this.#channel?.postMessage(event);
        const ending = await this.#handle(event);
        if (ending) return ending.retry_ms;
        if (this.#ended.signal.aborted) return null;
      }
    }
  }

  /** Works through one event; returns the ending, if it is one that lets the stream come back. */
  async #handle(event) {
    const isText = this.#options.format === "raw" && !OURS.has(event.event);
    const content = isText ? event.data : parsed(event.data);
    if (event.event === "heartbeat") this.#beat(content);
    else if (event.event === "gap") await this.#call("onGap", content);
    else if (event.event === "error") await this.#call("onError", content);
    else if (event.event === "closing") return await this.#closing(content);
    else await this.#give(content, event);
    if (event.id) this.cursor = event.id;
    if (Date.now() - this.#savedAt >= SAVE_EVERY_MS) this.#save();
    return null;
  }

  #beat({ state, heartbeat_ms: heartbeatMs }) {
    if (heartbeatMs) this.#heartbeatMs = heartbeatMs;
    this.#tell(state);
  }

  async #closing(content) {
    if (content.cursor) this.cursor = content.cursor;
    this.#save();
    await this.#call("onClosing", content);
    if (content.action !== "stop") return content;
    const { reason: code, status = null, cursor = null } = content;
    throw new StreamError(content.detail || code, { code, status, cursor });
  }

  async #give(content, { event, id }) {
    if (this.#options.onMessage) {
      await this.#call("onMessage", content, { event, id });
      return;
    }
    // The record counts as worked through when the loop asks for the next one.
    const taken = new Promise((resolve) => (this.#taken = resolve));
    this.#reader?.({ value: content });
    await Promise.race([taken, this.closed]);
  }

  /** Calls a handler; what it throws ends the stream and is its user's to see. */
  async #call(name, ...values) {
    try {
      await this.#options[name]?.(...values);
    } catch (cause) {
      throw Object.assign(new Error(`${name} failed`), { cause, isOurs: true });
    }
  }

  #tell(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.#options.onState?.(state);
  }

  #save() {
    this.#savedAt = Date.now();
    if (this.cursor) this.#options.storage?.setItem(this.#key, this.cursor);
  }

  #end(error) {
    if (this.#ended.signal.aborted) return;
    this.#save();
    this.#ended.abort();
    const told = error && { message: error.message, ...error };
    if (error instanceof StreamError) this.#channel?.postMessage({ error: told });
    this.#channel?.close();
    this.#tell("closed");
    if (error) this.#options.onError?.(error);
    this.#finish(error);
  }

  /** Waits for a promise, but no longer than a line may be silent; then cuts it. */
  async #inTime(promise, cut) {
    let timer;
    const silence = new Promise((_, reject) => {
      const fail = () => {
        reject(Object.assign(new Error("no byte in time"), { isSilence: true }));
        cut.abort();
      };
      timer = setTimeout(fail, this.#heartbeatMs * DEAD_AFTER);
    });
    promise.catch(() => {}); // the loser of the race rejects when it is cut
    try {
      return await Promise.race([promise, silence]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Waits; less when the network comes back or the stream is closed. */
  #pause(waitMs) {
    return new Promise((resolve) => {
      const done = new AbortController();
      const end = () => {
        clearTimeout(timer);
        done.abort();
        resolve();
      };
      const timer = setTimeout(end, waitMs);
      globalThis.addEventListener?.("online", end, { signal: done.signal });
      this.#ended.signal.addEventListener("abort", end, { signal: done.signal });
    });
  }
}

const OURS = new Set(["heartbeat", "gap", "error", "closing", "tombstone"]);
const isFunction = (value) => typeof value === "function";
const valueOf = async (value) => (isFunction(value) ? value() : value);
const text = (filter) => (filter && typeof filter === "object" ? JSON.stringify(filter) : filter);

/** A ticket may have set the format to raw: what is no JSON then is text. */
function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    return data;
  }
}

function keyOf({ url, topics = [], filter }) {
  const { origin, pathname } = new URL(url, globalThis.location?.href);
  return ["kafkahub", origin, pathname, topics.join(","), text(filter) ?? ""].join("|");
}
