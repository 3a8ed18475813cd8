"""A version's description for machines: Croissant 1.1 (MLCommons, 2026) with the RAI 1.0 vocabulary, as JSON-LD.

The same facts as on the card, in the words that loaders and catalogues of data sets read. The files are described as
they lie beside it; the Parquet ones also by their columns, so that a loader can read the examples.
"""

import json
from typing import Any

from student_train.teachset.card import UNSAID, About, Facts, day, origin_words, review_words, scrub_words, teach_words

COLUMNS = {
    "id": "The example's id; `teachset lineage` knows where it is from.",
    "split": "train, dev, calibration or gold.",
    "messages": "The prompt, JSON: messages as an OpenAI chat completion takes them.",
    "tools": "Tools that the model may call, JSON; empty for none.",
    "response_format": "The form that the answer must have, JSON; empty for none.",
    "targets": "Answers that are taught, JSON: a list of content, weight and, of a teacher's, whose it is.",
    "teachers": "The weight of each teacher for soft targets, JSON.",
    "gold": "The right answer where a person or a rule gave one; else empty.",
    "skill": "What teachers are compared by, such as an intent.",
    "family": "The template family that made it; empty for what no template made.",
    "kind": "plain, or how it was changed so that it cannot be answered.",
    "source": "real_trace, synthetic or handcrafted.",
    "origin": "The route that it was captured on, or the generator.",
}
"""Of the Parquet files: all of them text."""

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_MEDIA = {"jsonl": "application/jsonlines", "parquet": "application/x-parquet"}


def croissant(of: Facts, about: About) -> str:
    """JSON, the same for the same version and the same words of people."""
    machines = [f"{name}: {count:,} answers" for name, count in of.asked.items()]
    described: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": f"{about.name} {of.name}",
        "description": _plain(f"{about.description} {origin_words(of)}"),
        "version": f"{of.number}.0.0",
        "datePublished": day(of.at),
        "url": about.url or f"urn:sha256:{of.root}",
        "license": about.licence or ", ".join(of.licences) or "Not stated",
        "creator": [{"@type": "sc:Organization", "name": one} for one in about.creators or ("Not stated",)],
        "citeAs": f"{about.name}, version {of.name}, Merkle root {of.root}",
        "isLiveDataset": False,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": file.name,
                "name": file.name,
                "contentUrl": file.name,
                "contentSize": f"{file.bytes} B",
                "encodingFormat": _MEDIA[file.name.rpartition(".")[2]],
                "sha256": file.sha256,
            }
            for file in of.files
        ],
        "recordSet": [_records(file.name, file.split) for file in of.files if file.name.endswith(".parquet")],
        "rai:dataCollection": _plain(origin_words(of) + f" Collected from: {', '.join(of.origins)}."),
        "rai:dataCollectionType": sorted({_TYPES[kind] for kind in of.sources}),
        **({"rai:dataCollectionTimeFrame": [day(of.first_at), day(of.last_at)]} if of.last_at else {}),
        "rai:dataPreprocessingProtocol": [scrub_words(of)],
        "rai:dataAnnotationProtocol": [teach_words(of), review_words(of)],
        "rai:annotationsPerItem": f"{sum(of.asked.values()):,} sampled answers, {of.reviews:,} reviews by people",
        "rai:annotatorDemographics": list(about.annotators or (UNSAID,)),
        "rai:machineAnnotationTools": machines or ["none"],
        "rai:dataUseCases": list(about.uses or (UNSAID,)),
        "rai:dataLimitations": [*about.limits, _plain(origin_words(of))],
        "rai:dataBiases": list(about.biases or (UNSAID,)),
        "rai:dataSocialImpact": about.social_impact or UNSAID,
        "rai:personalSensitiveInformation": [scrub_words(of)],
        "rai:dataReleaseMaintenancePlan": (about.maintenance or UNSAID)
        + " What is erased from the set is erased from its exports; a new version takes their place.",
    }
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


_TYPES = {"real_trace": "Direct measurement", "synthetic": "Synthetic", "handcrafted": "Manual Human Curator"}


def _records(file: str, split: str) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": split,
        "name": split,
        "key": {"@id": f"{split}/id"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{split}/{column}",
                "name": column,
                "description": description,
                "dataType": "sc:Text",
                "source": {"fileObject": {"@id": file}, "extract": {"column": column}},
            }
            for column, description in COLUMNS.items()
        ],
    }


def _plain(words: str) -> str:
    return words.replace("**", "").strip()
