// The HTTP API, as far as the page needs it. Addresses are relative to the page's, so that both may move together.

const EXPORTS = "v1/payments/marketplace-payouts/export";
const PATIENCE = 35_000;

/** The server's word on why not. */
export class Problem extends Error {
  constructor(status, headers, body) {
    const errors = Array.isArray(body?.errors) ? body.errors : [];
    super(errors[0]?.detail ?? body?.message ?? `status ${status}`);
    this.status = status;
    this.errors = errors;
    this.requestId = body?.requestId ?? headers.get("x-request-id");
    this.retryAfter = Number(headers.get("retry-after")) || null;
    this.location = headers.get("location");
  }

  /** Whether one of the errors has this code. */
  has(code) {
    return this.errors.some((error) => error.code === code);
  }
}

/** No word of the server. */
export class Unreachable extends Error {}

/** The API with a user's key. `onAnswer` hears of every answer and of every lack of one. */
export class Api {
  #key;
  #onAnswer;

  constructor(key, onAnswer = () => {}) {
    this.#key = key;
    this.#onAnswer = onAnswer;
  }

  caller() {
    return this.#call("GET", "v1/caller");
  }

  list({ statuses = [], createdFrom, createdTo, sort, size, cursor }, signal) {
    const query = new URLSearchParams();
    for (const status of statuses) query.append("status", status);
    for (const [name, value] of Object.entries({ createdFrom, createdTo, sort, size, cursor })) {
      if (value) query.set(name, value);
    }
    return this.#call("GET", `${EXPORTS}?${query}`, { signal });
  }

  detail(id, signal) {
    return this.#call("GET", `${EXPORTS}/${encodeURIComponent(id)}`, { signal });
  }

  launch(cc, idempotencyKey) {
    return this.#call("POST", EXPORTS, { body: { cc }, headers: { "idempotency-key": idempotencyKey } });
  }

  /** `cc` is the new list, or null to keep the one there is. */
  resend(id, cc) {
    return this.#call("POST", `v1/exports/${encodeURIComponent(id)}/resend-email`, { body: cc && { cc } });
  }

  async #call(method, path, { body, headers = {}, signal } = {}) {
    const patience = AbortSignal.timeout(PATIENCE);
    let response;
    let content;
    try {
      response = await fetch(new URL(path, document.baseURI), {
        method,
        body: body ? JSON.stringify(body) : undefined,
        headers: {
          ...(body && { "content-type": "application/json" }),
          "dj-client": "OPERATOR",
          "dj-api-key": this.#key,
          ...headers,
        },
        cache: "no-store",
        credentials: "omit",
        signal: signal ? AbortSignal.any([signal, patience]) : patience,
      });
      content = await response.json().catch((error) => {
        if (error instanceof SyntaxError) return null;
        throw error;
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      const unreachable = new Unreachable(error.message);
      this.#onAnswer(unreachable);
      throw unreachable;
    }
    if (response.ok && content !== null) {
      this.#onAnswer(null);
      return content;
    }
    const problem = new Problem(response.status, response.headers, content);
    this.#onAnswer(problem);
    throw problem;
  }
}

/** What to tell the user about a failed call: what is wrong, and what to do. */
export function explain(error) {
  if (error instanceof Unreachable) {
    return navigator.onLine
      ? "The server cannot be reached. Check your connection, then try again."
      : "You are offline. Connect to the network, then try again.";
  }
  if (!(error instanceof Problem)) return "The page met a fault. Reload it, then try again.";
  if (error.status === 429) return own(error) ?? "Too many requests at once. Try again in a moment.";
  if (error.status >= 500 && !error.errors.length) return "The service does not answer. Try again in a moment.";
  const request = error.status >= 500 && error.requestId ? ` (request ${error.requestId})` : "";
  return `${own(error) ?? "The request was refused."}${request}`;
}

function own(problem) {
  return problem.errors[0]?.detail ?? problem.errors[0]?.message;
}
