// The component: what Spin and the relay call.

import { get } from "fermyon:spin/variables@2.0.0";

import { handle } from "./notes.js";
import { Relay } from "./relay.js";

addEventListener("fetch", (event) => {
  const tokens = [get("delivery_token"), get("delivery_token_secondary")];
  event.respondWith(handle(event.request, new Relay(get("relay_url"), get("relay_token"), fetch), tokens));
});
