"""From one generation of a table to the next: what each way of ending leads to.

A generation is fed until the log that it folded is there no longer. What happens then
follows from what was lost:

========================  =====================================================
the topic, or its id      nothing answers any more (REPLACED); what has its name
                          then is read as another generation
a part of the log         the generation goes on answering, STALE, while the next
                          is built beside it and takes its place when it is ready;
                          `rebuild` may say otherwise
the reader, by a bug      the same, with back-off; the fourth time the process ends
memory                    what is being built is given up (FAILED if nothing answers), and
                          tried again after a while
========================  =====================================================

A generation that was never ready has nothing to answer: it is simply begun again.
"""

import asyncio
import logging
from dataclasses import replace
from typing import NoReturn

from ..core.errors import Reason
from ..core.served import Definition, Generation, Trouble
from ..kafka.backoff import Backoff
from ..kafka.errors import KafkaFault, TopicGone, Unsupported, leaves_of
from ..kafka.topic import Topic, locate
from ..kafka.topology import Identity
from ..ops.logs import event
from .feed import Feed, generation_of
from .setting import OverBudget, Policy, Rebuild, Redefined, Setting
from .succession import Succession

__all__ = ["Follower"]

_log = logging.getLogger("sidecar.follower")

_MOST_BUGS = 3
# A generation that was fed for so long makes the bugs before it old ones.
_SOUND_S = 600.0
_UNSUPPORTED_S = 5.0
_PARKED_S = 1.0
_OVER_BUDGET_S = 60.0
_AND_SO = "; it is not read anew: "
# How long metadata alone must say that the topic of a table that answers is missing.
_MISSING_S = 4.0
_FREED_AT_ONCE = 4096
_REFUSED = "rebuild is refuse: restart the sidecar to have it read anew"


class Follower:
    """Feeds one table, through all its generations.

    Args:
        setting: the table, and where it comes from.
    """

    feed_type = Feed

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._succession = Succession(
            setting.served, setting.changed, lambda: self._generation("definition"), self._free_next
        )
        self._topic: Topic | None = None
        self._missing_since: float | None = None
        self._bugs = 0
        self._dropped: list[Generation] = []

    def redefine(self, definition: Definition, policy: Policy) -> None:
        """Take another definition; of the same topic.

        Where it decides what the table holds, that is read anew: beside what answers, or instead
        of it, as the policy's `rebuild` says (which may not be REFUSE).
        """
        self._setting = replace(self._setting, policy=policy)
        self._succession.at_once = policy.rebuild is Rebuild.DROP_OLD
        self._succession.want(definition)

    async def run(self) -> NoReturn:
        """Follow the topic until cancelled.

        Raises:
            Exception: a bug of ours, after three tries to begin anew.
        """
        reason, backoff = "start", Backoff(largest_s=10.0)
        while True:
            began = self._setting.clock()
            fault = await self._fault_of_generation(reason)
            if self._setting.clock() - began > _SOUND_S:
                self._bugs = 0
                backoff.reset()
            reason = await self._lost(fault)
            await self._free_dropped()
            await asyncio.sleep(backoff.next_s())

    async def _fault_of_generation(self, reason: str) -> Exception:
        """Begin a generation and feed it; what ended it."""
        try:
            await self._succession.run(self._generation(reason))
        except* Exception as faults:  # noqa: BLE001 (what it was decides what follows)
            leaves = leaves_of(faults)
        gone = [leaf for leaf in leaves if isinstance(leaf, TopicGone)]
        bugs = [leaf for leaf in leaves if not isinstance(leaf, KafkaFault)]
        return (gone or bugs or leaves)[0]

    async def _generation(self, reason: str) -> NoReturn:
        setting, served = self._setting, self._setting.served
        topic = await locate(setting.cluster, served.definition.topic, self._report)
        self._missing_since = None
        generation = generation_of(setting, topic, self._succession.wanted)
        source = served.current.source if served.current else None
        if source is not None and source.incarnation != generation.source.incarnation:
            self._drop(Trouble(Reason.TOPIC_REPLACED, "its topic is another one now"))
        await self._free_dropped()
        self._check_memory()
        if served.replaced:
            served.trouble = Trouble(
                Reason.TOPIC_REPLACED,
                f"topic {topic.name!r} is another one now (id {topic.id}) than the one that was "
                "served",
            )
        self._topic = topic
        served.begin(generation, reason)
        self._tell_begin(topic, reason)
        setting.changed.ring()
        await self.feed_type(setting, generation, topic).run()
        raise AssertionError("a feed ends by raising")

    # What was lost

    async def _lost(self, fault: Exception) -> str:
        """Do what its loss demands; returns the reason for the next generation, in a word."""
        if isinstance(fault, Redefined):
            return self._redefined()
        if isinstance(fault, TopicGone):
            return await self._lost_topic(fault)
        if isinstance(fault, OverBudget):
            return await self._over_budget(fault)
        if isinstance(fault, Unsupported):
            return await self._not_supported(fault)
        if isinstance(fault, KafkaFault):
            return await self._lost_log(f"topic {self._name!r}: {fault}", "log_cut")
        self._bugs += 1
        if self._bugs > _MOST_BUGS:
            raise fault
        _log.error("the follower failed; the table is read anew", exc_info=fault)
        return await self._lost_log(
            f"a fault of the sidecar itself ({type(fault).__name__}; its log tells more)", "bug"
        )

    def _redefined(self) -> str:
        sentence = f"topic {self._name!r}: its table is defined anew"
        self._tell(sentence)
        self._drop(Trouble(Reason.BOOTSTRAPPING, sentence), replaced=False)
        return "definition"

    async def _lost_topic(self, gone: TopicGone) -> str:
        sentence = f"topic {self._name!r}: {gone}"
        self._tell(sentence)
        refused = self._refuses()
        reason = Reason.TOPIC_MISSING if gone.deleted else Reason.TOPIC_REPLACED
        told = f"{sentence}; {_REFUSED}" if refused else sentence
        self._drop(Trouble(reason, told))
        if refused:
            await asyncio.Event().wait()
        return "topic_replaced"

    async def _lost_log(self, sentence: str, reason: str) -> str:
        served = self._setting.served
        self._tell(sentence)
        if self._refuses():
            served.cut_off(f"{sentence}; {_REFUSED}")
            self._setting.changed.ring()
            await self._parked()
            return reason
        if self._setting.policy.rebuild is Rebuild.DROP_OLD or not served.ready:
            reason_now = Reason.TOPIC_REPLACED if served.replaced else Reason.BOOTSTRAPPING
            self._drop(Trouble(reason_now, sentence), replaced=False)
        else:
            served.cut_off(sentence)
        self._setting.changed.ring()
        return reason

    async def _not_supported(self, fault: Unsupported) -> str:
        served, sentence = self._setting.served, f"topic {self._name!r}: {fault}"
        self._tell(sentence)
        if served.ready:
            served.cut_off(sentence)
        else:
            self._drop(Trouble(Reason.TABLE_FAILED, sentence, final=True), replaced=False)
        self._setting.changed.ring()
        await asyncio.sleep(_UNSUPPORTED_S)
        return "unsupported"

    def _check_memory(self) -> None:
        """Another generation beside the one that answers will be about as large."""
        setting = self._setting
        more = setting.served.memory_bytes() if setting.served.ready else 0
        lacks = setting.budget.lacks(more)
        if more and lacks:
            raise OverBudget(
                f"{lacks} to read it anew beside what answers: give it more, or set rebuild: "
                "drop_old"
            )

    async def _over_budget(self, over: OverBudget) -> str:
        served, sentence = self._setting.served, f"topic {self._name!r}: {over}"
        self._tell(sentence)
        if served.ready:
            served.cut_off(f"{served.fault.partition(_AND_SO)[0]}{_AND_SO}{sentence}")
        else:
            self._drop(Trouble(Reason.TABLE_FAILED, sentence, final=True), replaced=False)
        self._setting.changed.ring()
        await self._free_dropped()
        await asyncio.sleep(_OVER_BUDGET_S)
        return "memory"

    def _refuses(self) -> bool:
        """An operator must say that the table may be read anew: it has answered before."""
        served = self._setting.served
        return self._setting.policy.rebuild is Rebuild.REFUSE and (served.ready or served.replaced)

    async def _parked(self) -> None:
        """Go on answering from what there is, while the topic is the same."""
        assert self._topic is not None, "what answers has a topic"  # noqa: S101
        identity = Identity(self._topic)
        while True:
            await asyncio.sleep(_PARKED_S)
            try:
                metadata = await self._setting.cluster.metadata(self._name)
                identity.check(metadata)
            except TopicGone as gone:
                await self._lost_topic(gone)
            except KafkaFault:  # nobody answers, or nobody whom this version understands
                continue

    def _drop(self, trouble: Trouble, *, replaced: bool = True) -> None:
        """Nothing answers any more."""
        served = self._setting.served
        built = (served.current, served.next)
        self._dropped += [generation for generation in built if generation]
        served.drop(trouble, replaced=replaced)
        self._setting.changed.ring()

    async def _free_next(self) -> None:
        if self._setting.served.next is not None:
            self._dropped.append(self._setting.served.next)
            self._setting.served.give_up_next()
        await self._free_dropped()

    async def _free_dropped(self) -> None:
        while self._dropped:
            for _ in self._dropped.pop().view.table.dismantle(_FREED_AT_ONCE):
                await asyncio.sleep(0)

    # What is told

    @property
    def _name(self) -> str:
        return self._setting.served.definition.topic

    def _report(self, trouble: Trouble) -> None:
        """The topic cannot be found now."""
        served = self._setting.served
        if trouble.reason is not Reason.TOPIC_MISSING:
            self._missing_since = None
        elif served.ready:
            now = self._setting.clock()
            since = self._missing_since = self._missing_since or now
            if now - since >= _MISSING_S:
                self._tell(trouble.sentence)
                self._drop(trouble)
        if trouble == served.trouble:
            return
        served.trouble = trouble
        name = served.definition.name
        event(_log, logging.WARNING, "table waits", table=name, why=trouble.sentence)
        self._setting.changed.ring()

    def _tell(self, sentence: str) -> None:
        name = self._setting.served.definition.name
        event(_log, logging.WARNING, "generation ends", table=name, why=sentence)

    def _tell_begin(self, topic: Topic, reason: str) -> None:
        offsets = [start.target - start.log_start_offset for start in topic.partitions.values()]
        event(
            _log,
            logging.INFO,
            "generation begins",
            table=self._setting.served.definition.name,
            topic=topic.name,
            topic_id=str(topic.id),
            partitions=len(topic.partitions),
            offsets=sum(offsets),
            reason=reason,
        )
        policy = topic.config.get("cleanup.policy", "")
        if policy and "compact" not in policy:
            event(
                _log,
                logging.WARNING,
                "topic is not compacted",
                topic=topic.name,
                cleanup_policy=policy,
                why="keys disappear from the log when their records grow old; set "
                "cleanup.policy=compact unless that is meant",
            )
