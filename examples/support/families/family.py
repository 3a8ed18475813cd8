"""What a template family is: ways to say one thing, and in which situations people say it.

A text's fields tell what a reader learns from it: with `{order}` it names the order, with `{item}` the thing, with
`{problem}`, `{misuse}`, `{address}` or `{variant}` it has that. The correct answer follows from these and the scene.
"""

from dataclasses import dataclass

from examples.support.policy import Said, Topic


@dataclass(frozen=True, slots=True)
class Family:
    """`scenes`: names of `scenes.SCENES` that the order may be in; none: those that fit the first topic. `kinds`: of
    products, `variant` for what comes in several, `dear` for three of something dear, `final` for what cannot be
    returned; none: any. `products`: for questions about products, which table they come from."""

    id: str
    topics: tuple[Topic, ...]
    texts: tuple[str, ...]
    says: tuple[Said, ...] = ()
    scenes: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    lang: str = "en"
    products: str = ""
