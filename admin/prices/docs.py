"""Prices in the OpenAPI document."""

from admin.docs.operations import Operation, Query, Route
from admin.prices.schemas import PriceAnswer, PricePut

_TAG = "Prices"
_ENTRY = {
    "description": "As in the price list's file: token prices are USD per million tokens, unit prices USD for one, as"
    " strings or numbers."
}

OPERATIONS: dict[Route, Operation] = {
    ("GET", "/api/prices"): Operation(
        name="findPrices",
        tag=_TAG,
        summary="What models cost now",
        text="The price list with the operator's overrides over it.",
        query=(
            Query("provider", "Names of providers.", is_list=True),
            Query("model", "Names of models.", is_list=True),
            Query("source", "Where the price is from.", values=("catalogue", "override", "none")),
        ),
        answer=list[PriceAnswer],
        errors=(400,),
        has_text_decimals=True,
    ),
    ("PUT", "/api/prices"): Operation(
        name="putPrice",
        tag=_TAG,
        summary="Give a model a price of one's own",
        text="Creates or replaces the override of that provider and model.",
        body=PricePut,
        required=("provider", "model", "price"),
        refined={"price": _ENTRY},
        example={
            "provider": "openai",
            "model": "my-fine-tune",
            "price": {"prices": [{"classes": {"input": "2.50", "cached_input": "1.25", "output": "10"}}]},
        },
        answer=PriceAnswer,
        has_text_decimals=True,
    ),
    ("DELETE", "/api/prices/:provider/:model"): Operation(
        name="deletePrice",
        tag=_TAG,
        summary="Take a price of one's own away",
        text="The price list counts again.",
        path_texts={"provider": "The provider's name.", "model": "The model's name; it may hold slashes."},
        errors=(404,),
        has_text_decimals=True,
    ),
}
