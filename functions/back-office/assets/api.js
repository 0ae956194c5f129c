// Client of the HTTP API. URLs are relative to the page, so that page and API can move together.

/** Longer than the API's own timeout of 30 seconds. */
const TIMEOUT_MS = 35_000;

/** An error response of the API. */
export class ApiError extends Error {
  constructor(status, headers, body) {
    const errors = Array.isArray(body?.errors) ? body.errors : [];
    super(errors[0]?.detail ?? body?.message ?? `status ${status}`);
    this.status = status;
    this.errors = errors;
    this.requestId = body?.requestId ?? headers.get("x-request-id");
    this.retryAfter = Number(headers.get("retry-after")) || null;
    this.location = headers.get("location");
  }

  has(code) {
    return this.errors.some((error) => error.code === code);
  }
}

/** There was no response. */
export class NetworkError extends Error {}

/** Calls the API with a user's key. Exports are those of `type`. `onResult` gets the error of every call, or null. */
export class Api {
  #key;
  #onResult;
  #exports;

  constructor(key, { type, onResult = () => {} } = {}) {
    this.#key = key;
    this.#onResult = onResult;
    this.#exports = `v1/payments/${type?.slug}/export`;
  }

  caller() {
    return this.#call("GET", "v1/caller");
  }

  list({ statuses = [], createdAtFrom, createdAtTo, sort, size, cursor }, signal) {
    const query = new URLSearchParams();
    for (const status of statuses) query.append("status", status);
    for (const [name, value] of Object.entries({ createdAtFrom, createdAtTo, sort, size, cursor })) {
      if (value) query.set(name, value);
    }
    return this.#call("GET", `${this.#exports}?${query}`, { signal });
  }

  detail(id, signal) {
    return this.#call("GET", `${this.#exports}/${encodeURIComponent(id)}`, { signal });
  }

  launch(body, idempotencyKey) {
    return this.#call("POST", this.#exports, { body, headers: { "idempotency-key": idempotencyKey } });
  }

  cancel(id) {
    return this.#call("POST", `v1/exports/${encodeURIComponent(id)}/cancel`);
  }

  /** `cc` is the new list, or null to keep the current one. */
  resend(id, cc) {
    return this.#call("POST", `v1/exports/${encodeURIComponent(id)}/resend-email`, { body: cc && { cc } });
  }

  async #call(method, path, { body, headers = {}, signal } = {}) {
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
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
        signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      });
      content = await response.json().catch((error) => {
        if (error instanceof SyntaxError) return null;
        throw error;
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      const networkError = new NetworkError(error.message);
      this.#onResult(networkError);
      throw networkError;
    }
    if (response.ok && content !== null) {
      this.#onResult(null);
      return content;
    }
    const apiError = new ApiError(response.status, response.headers, content);
    this.#onResult(apiError);
    throw apiError;
  }
}

/** Returns the message for a failed call: the problem and what the user can do about it. */
export function errorText(error) {
  if (error instanceof NetworkError) {
    return navigator.onLine
      ? "The service is not responding. Check your connection and try again."
      : "You are offline. Connect to the network and try again.";
  }
  if (!(error instanceof ApiError)) return "Something went wrong on this page. Reload it and try again.";
  if (error.status === 429) return detailOf(error) ?? "Too many requests. Try again in a moment.";
  if (error.status >= 500 && !error.errors.length) return "The service is temporarily unavailable. Try again in a moment.";
  const request = error.status >= 500 && error.requestId ? ` (request ID ${error.requestId})` : "";
  return `${detailOf(error) ?? "The request was rejected."}${request}`;
}

function detailOf({ errors }) {
  return errors[0]?.detail ?? errors[0]?.message;
}

/** Error details of the API start in lower case, because they follow the name of a field. */
export const sentence = (text = "Not accepted.") => text.charAt(0).toUpperCase() + text.slice(1).replace(/([^.])$/, "$1.");
