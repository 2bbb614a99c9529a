// The pages work without this script. It saves some ways to the server and back: it
// copies, adds and removes rows, asks for suggestions, and closes menus.
"use strict";

(() => {
	const one = (selector, within = document) => within.querySelector(selector);
	const all = (selector, within = document) => [...within.querySelectorAll(selector)];

	// A form is sent once. The second click of a double click would throw the answer to
	// the first one away, and with it, maybe, a secret. Who stopped waiting may try again.
	for (const form of all('form[method="post"]')) {
		form.addEventListener("submit", (event) => {
			if (form.dataset.sent) event.preventDefault();
			form.dataset.sent = "yes";
			setTimeout(() => { delete form.dataset.sent; }, 10000);
		});
	}

	// A page that the browser kept and shows again is asked for anew where it showed a
	// secret, and may be sent again where it is a form.
	addEventListener("pageshow", (event) => {
		if (!event.persisted) return;
		for (const form of all("form[data-sent]")) delete form.dataset.sent;
	});

	// The secret leaves the page together with the person.
	const once = one("#once");
	if (once) {
		addEventListener("pagehide", () => {
			once.textContent = once.dataset.gone;
		});
	}

	// A notice is said once, and not again by reloading.
	const here = new URL(location.href);
	if (here.searchParams.has("notice")) {
		here.searchParams.delete("notice");
		history.replaceState(null, "", here);
	}

	const copy = async (source) => {
		try {
			await navigator.clipboard.writeText(source.textContent);
			return true;
		} catch {
			const range = document.createRange();
			range.selectNodeContents(source);
			getSelection().removeAllRanges();
			getSelection().addRange(range);
			return document.execCommand("copy");
		}
	};
	for (const button of all("button[data-copy]")) {
		const words = button.textContent;
		button.hidden = false;
		button.addEventListener("click", async () => {
			const done = await copy(document.getElementById(button.dataset.copy));
			button.textContent = done ? "Copied" : "Press Ctrl+C";
			const status = one("#copied");
			if (status) status.textContent = done ? "Copied" : "Not copied. The text is selected.";
			setTimeout(() => { button.textContent = words; }, 2500);
		});
	}

	// Menus close when something else is used.
	addEventListener("click", (event) => {
		for (const menu of all("details.menu[open]")) {
			if (!menu.contains(event.target)) menu.open = false;
		}
	});
	addEventListener("keydown", (event) => {
		const menu = event.key === "Escape" && one("details.menu[open]");
		if (menu) {
			menu.open = false;
			one("summary", menu).focus();
		}
	});

	// Rows of repositories.
	const rows = one("#rows");
	if (!rows) return;
	const number = () => {
		const list = all(".repository", rows);
		list.forEach((row, i) => {
			const name = one("input", row);
			name.id = "repository-" + i;
			one("select", row).id = "level-" + i;
			const remove = one(".remove", row);
			remove.value = String(i);
			remove.setAttribute("aria-label", "Remove " + (name.value || "this repository"));
		});
		const full = list.length >= Number(rows.dataset.max);
		one("#add").disabled = full;
		one("#rows-full").hidden = !full;
	};
	const blank = (row) => {
		for (const problem of all(".problem", row)) problem.remove();
		row.classList.remove("wrong");
		const name = one("input", row);
		name.value = "";
		name.removeAttribute("aria-invalid");
		name.removeAttribute("aria-describedby");
		name.removeAttribute("autofocus");
		one("select", row).value = "read";
		return row;
	};
	let pattern = one(".repository", rows);
	pattern = pattern && blank(pattern.cloneNode(true));
	one("#add").addEventListener("click", (event) => {
		if (!pattern) return;
		event.preventDefault();
		const row = rows.appendChild(pattern.cloneNode(true));
		number();
		one("input", row).focus();
	});
	rows.addEventListener("click", (event) => {
		const remove = event.target.closest(".remove");
		if (!remove || !pattern) return;
		event.preventDefault();
		const row = remove.closest(".repository");
		const next = row.nextElementSibling || row.previousElementSibling;
		row.remove();
		number();
		(next ? one("input", next) : one("#add")).focus();
	});

	// Suggestions for what is being typed.
	let asked = 0;
	rows.addEventListener("input", (event) => {
		number();
		if (!rows.dataset.suggest || event.target.name !== "repository") return;
		const mine = ++asked;
		setTimeout(async () => {
			if (mine !== asked) return;
			try {
				const answer = await fetch(rows.dataset.suggest + "?q=" + encodeURIComponent(event.target.value));
				if (!answer.ok || mine !== asked) return;
				const { repositories } = await answer.json();
				one("#suggestions").replaceChildren(...repositories.map((name) => {
					const option = document.createElement("option");
					option.value = name;
					return option;
				}));
			} catch {
				// Without suggestions the name is typed.
			}
		}, 150);
	});
})();
