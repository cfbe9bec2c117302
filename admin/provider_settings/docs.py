"""Provider settings in the OpenAPI document."""

from typing import Any

from msgspec.structs import replace

from admin.docs.operations import Operation, Query, Route
from admin.provider_settings.checks import PROVIDER_PARAMS
from admin.provider_settings.schemas import SettingAnswer, SettingCreate, SettingUpdate

_TAG = "Provider settings"
_PROVIDERS = tuple(PROVIDER_PARAMS)
_ID = {"id": "The setting's id."}
_UNPRICED = {"enum": ["", "refuse", "free"]}
_PARAMS: dict[str, Any] = {
    "description": "Where the setting leads and its credential: "
    + "; ".join(
        f"`{provider}` needs {', '.join(f'`{name}`' for name in params.required)}"
        for provider, params in PROVIDER_PARAMS.items()
    )
    + ". Secrets are never shown again.",
}
_CREATE = Operation(
    name="createProviderSetting",
    tag=_TAG,
    summary="Create a provider setting",
    body=SettingCreate,
    required=("provider", "setting"),
    refined={"provider": {"enum": list(_PROVIDERS)}, "setting": _PARAMS, "unpriced": _UNPRICED},
    example={
        "provider": "openai",
        "name": "OpenAI",
        "setting": {"apikey": "sk-yours"},
        "allowedModels": ["gpt-4o-mini"],
        "costMap": {"promptCostPerModel": {"my-fine-tune": 0.003}, "completionCostPerModel": {"my-fine-tune": 0.012}},
    },
    answer=SettingAnswer,
)

OPERATIONS: dict[Route, Operation] = {
    ("PUT", "/api/provider-settings"): _CREATE,
    ("POST", "/api/provider-settings"): replace(
        _CREATE, name="createProviderSettingByPost", summary="Create a provider setting (the same as PUT)"
    ),
    ("GET", "/api/provider-settings"): Operation(
        name="findProviderSettings",
        tag=_TAG,
        summary="Find provider settings",
        text="Those named by `ids`, in that order, or all; of `provider`, if that is asked.",
        query=(
            Query("ids", "Ids of settings.", is_list=True),
            Query("provider", "Only settings of this provider.", values=_PROVIDERS),
        ),
        answer=list[SettingAnswer],
        errors=(400, 404),
    ),
    ("PATCH", "/api/provider-settings/:id"): Operation(
        name="updateProviderSetting",
        tag=_TAG,
        summary="Change a provider setting",
        text="What the body does not say stays. Whoever changes where a setting leads says its secrets anew.",
        path_texts=_ID,
        body=SettingUpdate,
        refined={"unpriced": _UNPRICED},
        example={"setting": {"apikey": "sk-yours-renewed"}, "name": "OpenAI, renewed"},
        answer=SettingAnswer,
        errors=(404, 409),
    ),
    ("DELETE", "/api/provider-settings/:id"): Operation(
        name="deleteProviderSetting",
        tag=_TAG,
        summary="Delete a provider setting that no key uses",
        text="One that does not exist is deleted already.",
        path_texts=_ID,
        errors=(409,),
    ),
}
