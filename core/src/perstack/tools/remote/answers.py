"""Answers to what a remote server asks the person or the run's model, in the SDK's form of callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mcp_types as types

from perstack.tools.connection import Unanswerable
from perstack.tools.questions import ELICITATION, SAMPLING, Answers

if TYPE_CHECKING:
    from mcp.client.session import ClientRequestContext, ElicitationFnT, SamplingFnT


def elicitation(answers: Answers) -> ElicitationFnT | None:
    """The callback for questions to the person; None, which offers nothing, where they are not allowed."""

    async def ask(
        context: ClientRequestContext,  # noqa: ARG001 - the SDK's form
        params: types.ElicitRequestParams,
    ) -> types.ElicitResult | types.ErrorData:
        try:
            result = await answers.answer(ELICITATION, params.model_dump(mode="json", by_alias=True, exclude_none=True))
        except Unanswerable as error:
            return types.ErrorData(code=types.INVALID_PARAMS, message=str(error))
        return types.ElicitResult.model_validate(result)

    return ask if ELICITATION in answers.offered else None


def sampling(answers: Answers) -> SamplingFnT | None:
    """The callback for questions to the run's model; None likewise."""

    async def ask(
        context: ClientRequestContext,  # noqa: ARG001 - the SDK's form
        params: types.CreateMessageRequestParams,
    ) -> types.CreateMessageResult | types.ErrorData:
        try:
            result = await answers.answer(SAMPLING, params.model_dump(mode="json", by_alias=True, exclude_none=True))
        except Unanswerable as error:
            return types.ErrorData(code=types.INVALID_PARAMS, message=str(error))
        return types.CreateMessageResult.model_validate(result)

    return ask if SAMPLING in answers.offered else None
