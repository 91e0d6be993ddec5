// The login of an app that other machines may reach.
import { source } from "./api.js";
import { byId } from "./dom.js";

byId("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const wrong = byId("wrong");
  wrong.hidden = true;
  try {
    await source.login(byId("token").value);
    location.assign("/");
  } catch (error) {
    wrong.textContent = error.message;
    wrong.hidden = false;
  }
});
byId("token").focus();
