// The HTTP API, asked as any client would: blocking queries by index, a token in X-Consul-Token.

const TOKEN = "portolan-token";

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  set: (secret) => secret ? sessionStorage.setItem(TOKEN, secret) : sessionStorage.removeItem(TOKEN),
};

/// What the daemon said instead of an answer.
export class Refusal extends Error {
  constructor(status, message) {
    super(message.trim() || `the daemon answered ${status}`);
    this.status = status;
  }
}

/// One answer: its value and, where there is one, its index.
export async function ask(path, signal) {
  const headers = token.get() ? { "X-Consul-Token": token.get() } : {};
  const response = await fetch(path, { headers, signal, cache: "no-store" });
  const text = await response.text();
  if (!response.ok) throw new Refusal(response.status, text);
  return { value: JSON.parse(text), index: Number(response.headers.get("X-Consul-Index") ?? 0) };
}

/// Calls `show` with the answer now and after every change, until `signal` is aborted. A daemon that is away
/// is asked again with growing pauses; `trouble` hears of it and hears `null` when it is back. What is not there
/// is an empty list.
export async function watch(path, signal, show, trouble) {
  let index = 0;
  let pause = 500;
  while (!signal.aborted) {
    try {
      const blocking = index ? `${path.includes("?") ? "&" : "?"}index=${index}&wait=55s` : "";
      const answer = await ask(path + blocking, signal);
      // An index that went backwards is a new history (Consul's rule for clients).
      const changed = answer.index !== index || !answer.index;
      index = answer.index < index ? 0 : answer.index;
      pause = 500;
      trouble(null);
      if (changed) show(answer.value);
      if (!answer.index) await rest(5000, signal);
    } catch (error) {
      if (signal.aborted) return;
      index = 0;
      if (error.status === 404) {
        trouble(null);
        show([]);
        await rest(3000, signal);
        continue;
      }
      trouble(error);
      await rest(pause, signal);
      pause = Math.min(pause * 2, 15000);
    }
  }
}

/// Sleeps, or less when aborted.
const rest = (ms, signal) => new Promise((done) => {
  const timer = setTimeout(done, ms);
  signal.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
});
