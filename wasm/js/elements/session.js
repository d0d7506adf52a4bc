// <tandem-session>: starts the document's session.
//
//   <tandem-session></tandem-session>                    project and page from /p/{project}/{page}
//   <tandem-session addresses="http://a http://b">       goes to these gateways only
//   <tandem-session stay>                                never moves the page to another node
//   <tandem-session no-warm-watch>                       asks the other node only after a loss
//   <tandem-session project="plant" page="overview">     for a document at any other path

import { TandemSession } from "../session.js";
import { currentSession, provideSession } from "./base.js";

export class TandemSessionElement extends HTMLElement {
  connectedCallback() {
    this.hidden = true;
    if (currentSession()) return;
    const session = new TandemSession({
      project: this.getAttribute("project"),
      page: this.getAttribute("page"),
      addresses: this.getAttribute("addresses")?.split(/[\s,]+/).filter(Boolean),
      navigates: !this.hasAttribute("stay"),
      warmWatch: !this.hasAttribute("no-warm-watch"),
    });
    this.session = session;
    provideSession(session);
    session.restoreView();
    const root = document.documentElement;
    const mark = () => {
      root.dataset.tandemState = session.state;
      root.toggleAttribute("data-tandem-stale", session.stale);
    };
    for (const type of ["state", "reconnecting", "closed", "stale"]) session.on(type, mark);
    mark();
    window.tandem.session = session;
    document.dispatchEvent(new CustomEvent("tandem:ready", { bubbles: true, detail: session }));
  }
}
