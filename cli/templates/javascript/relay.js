// The relay's interface, as far as this component uses it. All of it: relay/openapi.json of Towpath.

/** The relay's answer, where it is a problem document. `retryable` says whether the same may work later. */
export class Refused extends Error {
  constructor(problem) {
    super(problem.detail ?? "the relay refused it");
    this.retryable = problem.retryable ?? true;
  }
}

export class Relay {
  constructor(url, token, send) {
    this.url = url.replace(/\/+$/, "");
    this.token = token;
    this.send = send;
  }

  /** One unit of work: its steps in one transaction, its events published if that commits. */
  async run(unit) {
    return await this.#ask("/v1/transactions", unit);
  }

  /** One read. Its rows, by the names of their columns. */
  async query(query) {
    const { columns, rows } = await this.#ask("/v1/queries", query);
    return rows.map((row) => Object.fromEntries(columns.map((column, place) => [column, row[place]])));
  }

  async #ask(path, body) {
    const headers = { authorization: `Bearer ${this.token}`, "content-type": "application/json" };
    const request = { method: "POST", headers, body: JSON.stringify(body) };
    let answer;
    try {
      // Called as a function of its own: `fetch` is nobody's method.
      const { send } = this;
      answer = await send(this.url + path, request);
    } catch (error) {
      throw new Refused({ detail: `the relay doesn't answer: ${error}` });
    }
    const said = await answer.json().catch(() => ({ detail: `the relay answered ${answer.status}` }));
    if (answer.status !== 200) {
      throw new Refused(said);
    }
    return said;
  }
}
