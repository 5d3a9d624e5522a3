"""The pages on which a manager changes the site file: every change is shown before it is saved."""

from __future__ import annotations

import asyncio
import difflib
import re
import tomllib
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.base import control
from gateway.config import Mistakes, Site, load_site
from gateway.config.adoption import load_adopted, load_revision_text, load_sources
from gateway.config.editing import Edit, edited
from gateway.config.reading import NAME_PATTERN
from gateway.config.settable import SettingGroup, SettingSection, value_at
from gateway.config.site_settings import setting_sections
from gateway.journal import JournalFailed, JournalReader
from gateway.model import GatewayError, Revision, Role
from gateway.services.configuration import Configuration
from gateway.web.part import PartHandlers
from gateway.web.requests import read_form, request_language
from gateway.words import error_summary, translate

from .corrections import Correction, corrections_of
from .setting_forms import FieldError, edits_of, field_values, row_numbers

PAGE = "settings"
CALIBRATION = "calibration"
"""The section with the corrections of points."""
GROUPS_PER_PAGE = 50
TEST_TIMEOUT_S = 60.0
CONTEXT_LINES = 2
"""Lines shown around a change."""
_DIFF_POSITION = re.compile(r"@@ -(\d+)")


class AdoptedSite(msgspec.Struct, frozen=True):
    """The configuration that runs, and the data of its files."""

    site: Site
    _data: dict[str, dict[str, Any]]
    _sections: tuple[SettingSection, ...]

    @property
    def text(self) -> str:
        """That of the site file."""
        return self.site.sources[""]

    def data(self, group: SettingGroup) -> dict[str, Any]:
        """That of the file with the group."""
        return self._data[group.source]

    def has(self, group: SettingGroup) -> bool:
        """Whether it is in its file, or may be added."""
        return group.fits(self.data(group))

    def shown_sections(self, role: Role) -> list[SettingSection]:
        """Those with anything to change for a role."""
        return [
            each
            for each in self._sections
            if role.includes(each.role) and (each.new or any(map(self.has, each.groups)))
        ]

    def section(self, name: str) -> SettingSection | None:
        return next((section for section in self._sections if section.name == name), None)


class SettingsHandlers(PartHandlers):
    """`/settings`, `/settings/<section>`, and the earlier configurations in `/settings/history`."""

    def routes(self) -> list[Route]:
        return [
            Route("/settings", self._index),
            Route("/settings/history", self._history),
            Route("/settings/history/{number:int}", self._revision, methods=["GET", "POST"]),
            Route("/settings/{section}", self._section_page, methods=["GET", "POST"]),
        ]

    async def _index(self, request: Request) -> Response:
        adopted = await self._adopted()
        return self._page(request, "settings.html", adopted)

    async def _section_page(self, request: Request) -> Response:
        adopted = await self._adopted()
        section = adopted.section(request.path_params["section"]) if adopted else None
        if adopted is None or section is None:
            raise HTTPException(404)
        if not request.state.role.includes(section.role):
            raise HTTPException(403)
        if request.method == "POST":
            return await self._change(request, adopted, section)
        return self._section_response(request, adopted, section)

    async def _change(self, request: Request, adopted: AdoptedSite, section: SettingSection) -> Response:
        form = await read_form(request)
        shown = form.get("group", "")
        group = section.new if "name" in form else section.group(shown)
        if group is None or group.id != shown:
            raise HTTPException(400)
        if not request.state.role.includes(group.role):
            raise HTTPException(403)
        if "name" in form:
            name = form["name"].strip().lower()
            group = msgspec.structs.replace(group, path=(*group.path, name))
            if not NAME_PATTERN.fullmatch(name) or value_at(adopted.data(group), group.path) is not None:
                wrong = [FieldError("name", "name-wrong")]
                return self._section_response(request, adopted, section, shown, form, wrong)
        elif "test" in form and group.test_call:
            return await self._send_test(request, adopted, section, group)
        if "remove" in form and group.removable:
            edits, wrong = [Edit(group.path)], []
        else:
            edits, wrong = edits_of(group, adopted.data(group), form)
        if wrong:
            return self._section_response(request, adopted, section, shown, form, wrong)
        if not edits:
            return RedirectResponse(f"/settings/{section.name}?unchanged", 303)
        before = adopted.site.sources[group.source]
        try:
            text = edited(before, edits)
            problems = await self._problems(request, adopted, text, group.source)
        except GatewayError as error:
            text, problems = before, [error_summary(request_language(request), error.key, error.facts)]
        if form.get("digest") == adopted.site.digest and not problems:
            call = {"edits": [msgspec.structs.asdict(edit) for edit in edits], "source": group.source}
            return await self._adopt(request, adopted, section.name, "edit", call)
        kept = {name: value for name, value in form.items() if name != "digest"}
        address, diff = f"/settings/{section.name}", changed_lines(before, text)
        return self._change_page(request, adopted, diff, problems, kept, action=address, back=address)

    async def _send_test(
        self, request: Request, adopted: AdoptedSite, section: SettingSection, group: SettingGroup
    ) -> Response:
        """Send a test message to a contact; the page says what each channel answered."""
        try:
            answer = await control.call_daemon(
                self._context.settings.control, group.test_call, TEST_TIMEOUT_S, contact=group.path[-1]
            )
            sent = answer["channels"]
        except GatewayError as error:
            sent = {"": error_summary(request_language(request), error.key, error.facts)}
        return self._section_response(request, adopted, section, sent=sent, at=group.id)

    async def _problems(
        self, request: Request, adopted: AdoptedSite, text: str, source: str = ""
    ) -> list[str]:
        """What would be wrong with another text of a source, in words."""
        try:
            await asyncio.to_thread(self._site_of, adopted, text, source)
        except Mistakes as mistakes:
            lang = request_language(request)
            return [mistake.text(lang) for mistake in mistakes.mistakes]
        return []

    def _site_of(self, adopted: AdoptedSite, text: str, source: str = "") -> Site:
        """The site with another text of a source. Raises `Mistakes`."""
        file = self._context.settings.file
        assert file
        return load_site(file, saved_sources={**adopted.site.sources, source: text}, running=adopted.site)

    def _change_page(
        self,
        request: Request,
        adopted: AdoptedSite,
        diff: list[tuple[str, str]],
        problems: list[str],
        kept: dict[str, str],
        **addresses: str,
    ) -> Response:
        """The differences, to be confirmed; or why they cannot be saved."""
        return self._page(
            request, "settings-change.html", adopted, 422 if problems else 200,
            diff=diff, problems=problems, kept=kept, **addresses,
        )  # fmt: skip

    async def _adopt(
        self, request: Request, adopted: AdoptedSite, section: str, call: str, arguments: dict[str, Any]
    ) -> Response:
        """Have the daemon save it; then back to where one was, with what came of it."""
        lang = request_language(request)
        try:
            answer = await control.call_daemon(
                self._context.settings.control,
                call,
                digest=adopted.site.digest,
                person=request.state.person,
                **arguments,
            )
        except GatewayError as error:
            problem = error_summary(lang, error.key, error.facts)
            return self._page(
                request, "settings-change.html", adopted, 409,
                problems=[problem], diff=(), kept={}, action="", back=f"/settings/{section}",
            )  # fmt: skip
        if "mistakes" in answer:
            raise HTTPException(409)
        return RedirectResponse(f"/settings/{section}?done={answer['revision']}", 303)

    async def _history(self, request: Request) -> Response:
        adopted = await self._adopted()
        return self._page(request, "settings-history.html", adopted, revisions=await self._revisions())

    async def _revision(self, request: Request) -> Response:
        adopted, number = await self._adopted(), request.path_params["number"]
        journal = self._context.settings.journal
        text = await asyncio.to_thread(load_revision_text, journal, number)
        before = await asyncio.to_thread(load_revision_text, journal, number - 1)
        if adopted is None or text is None:
            raise HTTPException(404)
        if request.method == "POST":
            return await self._restore(request, adopted, number, text)
        return self._page(
            request, "settings-revision.html", adopted,
            number=number, text=text, diff=None if before is None else changed_lines(before, text),
            is_current=text == adopted.text,
        )  # fmt: skip

    async def _restore(self, request: Request, adopted: AdoptedSite, number: int, text: str) -> Response:
        form, problems = await read_form(request), await self._problems(request, adopted, text)
        if not problems and not request.state.role.includes(Role.INSTALLER):
            site = await asyncio.to_thread(self._site_of, adopted, text)
            if _for_installers(adopted.site) != _for_installers(site):
                problems = [translate(request_language(request), "settings.wiring")]
        if form.get("digest") == adopted.site.digest and not problems:
            return await self._adopt(request, adopted, "history", "restore", {"revision": number})
        address = f"/settings/history/{number}"
        diff = changed_lines(adopted.text, text)
        return self._change_page(request, adopted, diff, problems, {}, action=address, back=address)

    def _section_response(
        self,
        request: Request,
        adopted: AdoptedSite,
        section: SettingSection,
        at: str = "",
        form: dict[str, str] | None = None,
        wrong: list[FieldError] | None = None,
        sent: dict[str, str] | None = None,
    ) -> Response:
        """The forms of a section. `at`: the group to which the rest belongs: what was entered, what is
        wrong, or how a test went."""
        words = request.query_params.get("q", "").strip().lower()
        role: Role = request.state.role
        groups = [group for group in section.groups if adopted.has(group) and role.includes(group.role)]
        found = [group for group in groups if not words or words in _searched(group)]
        forms = [
            (group, form if form and group.id == at else field_values(group, adopted.data(group)))
            for group in found[:GROUPS_PER_PAGE]
        ]
        return self._page(
            request, "settings-section.html", adopted, 422 if wrong else 200,
            section=section, row_numbers=row_numbers, forms=forms, more=len(found) - len(forms),
            searchable=len(groups) > 8, q=words, at=at, given=form or {}, sent=sent,
            wrong={each.field: each for each in wrong or ()},
            corrections=self._corrections(found[:GROUPS_PER_PAGE]) if section.name == CALIBRATION else {},
        )  # fmt: skip

    def _corrections(self, groups: list[SettingGroup]) -> dict[tuple[str, str], Correction]:
        """By group and point, what each device measures now, and what that is corrected to."""
        rows = {row.name: row for row in self._context.view.devices}
        infos = {group.id: self._context.settings.device(group.path[-1]) for group in groups}
        return {
            (group, each.point): each
            for group, info in infos.items()
            if info
            for each in corrections_of(info, rows.get(info.name))
        }

    def _page(
        self,
        request: Request,
        template: str,
        adopted: AdoptedSite | None,
        status: int = 200,
        **facts: object,
    ) -> Response:
        query = request.query_params
        return self._context.page_response(
            request, PAGE, f"core/{template}", status,
            adopted=adopted, done=query.get("done", ""), unchanged="unchanged" in query,
            sections=adopted.shown_sections(request.state.role) if adopted else (), **facts,
        )  # fmt: skip

    async def _adopted(self) -> AdoptedSite | None:
        """What the gateway runs now; None while that is unknown."""
        return await asyncio.to_thread(self._load)

    def _load(self) -> AdoptedSite | None:
        file, journal = self._context.settings.file, self._context.settings.journal
        kept = load_adopted(file, journal) if file else None
        site = load_sources(file, kept.sources) if file and kept else None
        if site is None:
            return None
        data = {source: tomllib.loads(text) for source, text in site.sources.items()}
        return AdoptedSite(site, data, setting_sections(site))

    async def _revisions(self) -> list[Revision]:
        """Newest first; none while the journal cannot be read."""
        try:
            async with JournalReader.open(self._context.settings.journal) as reader:
                rows = (await reader.service_rows(Configuration.name)).values()
        except JournalFailed:
            return []
        found = (msgspec.msgpack.decode(row, type=Revision) for row in rows)
        return sorted(found, key=lambda revision: -revision.number)


def _for_installers(site: Site) -> object:
    """What an earlier version may change only for an installer: lines, devices, the platform, and the
    calibrations that lives depend on."""
    devices = {
        device.name: (
            device.bus,
            device.profile,
            device.address,
            device.serial,
            device.every,
            device.calibrations if device.calibration_role is Role.INSTALLER else None,
        )
        for device in site.devices.values()
    }
    return site.buses, site.uplinks, devices


def changed_lines(before: str, after: str) -> list[tuple[str, str]]:
    """What differs, line by line: `+`, `-` or ` ` for what is around, `@` with a number for a jump."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=CONTEXT_LINES)
    found = []
    for line in list(lines)[2:]:
        position = _DIFF_POSITION.match(line)
        found.append(("@", position[1]) if position else (line[0], line[1:]))
    return found


def _searched(group: SettingGroup) -> str:
    return " ".join((*group.path, *group.title.values())).lower()
