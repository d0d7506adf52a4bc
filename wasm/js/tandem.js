// Tandem for a page: one line in the page's head, and the elements work.
//
//   <script type="module" src="/sdk/tandem.js"></script>
//   <tandem-session></tandem-session>

import { TandemSession } from "./session.js";
import { currentSession, provideSession } from "./elements/base.js";
import { TandemAlarms } from "./elements/alarms.js";
import { TandemBar } from "./elements/bar.js";
import { TandemButton } from "./elements/button.js";
import { TandemInput } from "./elements/input.js";
import { TandemLink, wireLinks } from "./elements/link.js";
import { TandemNotice } from "./elements/notice.js";
import { TandemSessionElement } from "./elements/session.js";
import { TandemStatus } from "./elements/status.js";
import { TandemTrend } from "./elements/trend.js";
import { TandemValue } from "./elements/value.js";

window.tandem = { session: null, TandemSession, provideSession };

// The session first: the others find it as they come to life.
customElements.define("tandem-session", TandemSessionElement);
customElements.define("tandem-alarms", TandemAlarms);
customElements.define("tandem-bar", TandemBar);
customElements.define("tandem-button", TandemButton);
customElements.define("tandem-input", TandemInput);
customElements.define("tandem-link", TandemLink);
customElements.define("tandem-notice", TandemNotice);
customElements.define("tandem-status", TandemStatus);
customElements.define("tandem-trend", TandemTrend);
customElements.define("tandem-value", TandemValue);

const wire = () => currentSession() && wireLinks(currentSession());
document.addEventListener("tandem:ready", wire);
wire();

export { TandemSession, provideSession };
