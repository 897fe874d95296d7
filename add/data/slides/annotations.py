"""Annotations of a slide: areas of classes, from GeoJSON as QuPath exports it."""
from collections.abc import Sequence
from typing import Any

from add.data.read_back import read_json
from add.errors import UserError
from add.extras import install_command
from add.interfaces import PathLike

EXPORT_AGAIN = "export the annotations from QuPath again, as GeoJSON"
AREAS, POINTS = ("Polygon", "MultiPolygon"), ("Point", "MultiPoint")


def read_annotations(path: PathLike, point_radius: float = 0.0) -> dict[str, Any]:
    """Return {class: shapely geometry} of a GeoJSON file, in pixels of level 0, sorted by name.

    Objects without a class are passed over, and so are lines. Areas of one class are joined.

    Args:
        point_radius: pixels around a point that count as its class; 0: points are passed over.

    Raises:
        UserError: shapely is not installed, a damaged file, or one without any area of a class.
    """
    try:
        import shapely
        from shapely.geometry import shape
    except ImportError as error:
        raise UserError(f"annotations need shapely, which is not installed ({error}): expected it to import; run "
                        f"`{install_command('slides', 'shapely')}`") from error
    found: dict[str, list[Any]] = {}
    for feature in _features(path):
        name = _class_of(feature)
        geometry = feature.get("geometry") or {}
        if not name or geometry.get("type") not in (*AREAS, *(POINTS if point_radius else ())):
            continue
        try:
            area = shape(geometry)
            area = area.buffer(point_radius) if geometry["type"] in POINTS else shapely.make_valid(area)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, shapely.errors.ShapelyError) as error:
            raise UserError(f"{path} holds a damaged {geometry.get('type')} of {name} ({error}): expected coordinates "
                            f"[x, y]; {EXPORT_AGAIN}") from error
        found.setdefault(name, []).append(area)
    if not found:
        raise UserError(f"{path} holds no area with a class: expected polygons with a classification"
                        + ("" if point_radius else ", or points and --point_radius") + f"; {EXPORT_AGAIN}")
    return {name: shapely.union_all(found[name]) for name in sorted(found)}


def _features(path: PathLike) -> Sequence[dict[str, Any]]:
    """Return the features of a FeatureCollection, of a list of features, or of one alone."""
    content = read_json(path, object, EXPORT_AGAIN)
    if isinstance(content, dict):
        content = content.get("features", [content])
    if not isinstance(content, list) or not all(isinstance(feature, dict) for feature in content):
        raise UserError(f"{path} is no GeoJSON: expected a FeatureCollection or a list of features; {EXPORT_AGAIN}")
    return content


def _class_of(feature):
    """Return the name of a feature's class, or "": QuPath's classification, or the property `class`."""
    properties = feature.get("properties") or {}
    classification = properties.get("classification") if isinstance(properties, dict) else None
    name = classification.get("name") if isinstance(classification, dict) else properties.get("class")
    return name.strip() if isinstance(name, str) else ""
