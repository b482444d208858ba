// One process, so that coverage.mjs sees what all the others have touched. It comes last.
import "./artefacts.mjs";
import "./token.mjs";
import "./vault.mjs";
import "./bindings.mjs";
import "./payouts.mjs";
import "./assets.mjs";
import "./datacap.mjs";
import "./fuzz.mjs";
import "./gas.mjs";
import "./coverage.mjs";
